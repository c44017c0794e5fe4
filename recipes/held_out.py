"""A held-out sequence: choices that have to hold on another sequence of images, made without reading test.

    export OWSEG_DATA=DIR                                  # DIR/camvid holds the data
    python -m recipes.held_out train base                  # or wide, slow, fast, long; 7 core-minutes, long 14
    python -m recipes.held_out train base --classifier prototype
    python -m recipes.held_out weights base                # the weights of the components of the score joint
    python -m recipes.held_out balance base --classifier prototype  # how much a probe favours the class it learns

CamVid's val is from the video sequence that most of train is from, test is mostly from another. Here a network is
trained on two of train's three sequences (0016E5, 0001TP; 266 images) and evaluated on the third (0006R0, 101 images):
24 epochs, 60 % of them at half size. Scorers are fitted on the two sequences, scales on val, as everywhere.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from owseg.data.dataset import DataSet, spread_over
from owseg.data.datasets import open_dataset
from owseg.evaluation.evaluate import evaluate
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import fit_scorers
from owseg.knowledge.load import load
from owseg.labels import LabelSpace
from owseg.learners.learn import learn
from owseg.learners.probe import Probe
from owseg.learners.sequence import sample_classes
from owseg.metrics.iou import IoU
from owseg.metrics.pixel import Exact
from owseg.models.assemble import assemble
from owseg.models.backbones.base import from_pretrained
from owseg.models.engine import CachedForward
from owseg.models.ops import resize
from owseg.scorers.joint import Joint
from owseg.scorers.msp import msp
from owseg.training.config import TrainConfig
from owseg.training.segmentation import train as train_network
from recipes.camvid import UNKNOWN_CLASSES
from recipes.tables import markdown

HELD_OUT = "0006R0"
BASE = TrainConfig(mode="tuned", label_stride=1, epochs=24, small=0.6, validate_every=24)
VARIANTS = {
    "base": BASE,
    "wide": replace(BASE, scale=(1.1, 3.0)),
    "slow": replace(BASE, backbone_lr=1e-4),
    "fast": replace(BASE, backbone_lr=1e-3),
    "long": replace(BASE, epochs=44, validate_every=44),
}
WEIGHTS = ((1.0, 1.0, 0.0), (0.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 0.5), (1.0, 0.5, 0.5), (1.0, 1.0, 0.25))
BALANCES = (1.0, None, 0.5, 0.0)


def where(data: DataSet, wanted: Callable[[str], bool]) -> DataSet:
    """Return the images of ``data`` whose name is wanted."""
    picked = [i for i, name in enumerate(data.source.ids) if wanted(name)]
    return data.pick(picked, f"{data.source.name}, {len(picked)} images")


def sequences(place: Path, labels: LabelSpace) -> tuple[DataSet, DataSet]:
    """Return the images of the two sequences to train on, and of the held-out one."""
    known = where(open_dataset(f"camvid:{place}", "train", labels, train=True), lambda n: not n.startswith(HELD_OUT))
    return known, where(open_dataset(f"camvid:{place}", "train", labels), lambda n: n.startswith(HELD_OUT))


def train(args: argparse.Namespace) -> None:
    """Train a variant; print mIoU on the held-out sequence, at one and at several scales."""
    labels = open_dataset(f"camvid:{args.data}", "train").labels.without(UNKNOWN_CLASSES)
    training, held_out = sequences(args.data, labels)
    val = open_dataset(f"camvid:{args.data}", "val", labels)
    torch.manual_seed(0)
    network = assemble(from_pretrained(str(args.backbone)), len(labels), decoder="aspp", classifier=args.classifier)
    name = f"{args.variant}-{args.classifier}"
    config = replace(VARIANTS[args.variant], precision=args.precision)
    network = train_network(network, training, val, config, args.runs / f"{name}.run")
    kb = replace(fit_scorers(KnowledgeBase(network, labels), training, held_out=val), scorer="joint")
    kb.save(args.runs / name)
    single, several = (evaluate(kb, held_out, forward=partial(kb.forward, multi_scale=m)) for m in (False, True))
    classes = single.iou.per_class()
    row = (name, f"{single.iou.mean():.3f}", f"{several.iou.mean():.3f}", *(f"{v:.2f}" for v in classes.values()))
    markdown("Held-out sequence", ("variant", "mIoU", "mIoU, multi-scale", *classes), [row])


def weights(args: argparse.Namespace) -> None:
    """Print how well weighted sums of the three components of joint find the unknown, on held-out images and on val."""
    kb = load(args.runs / f"{args.variant}-{args.classifier}")
    _, held_out = sequences(args.data, kb.labels)
    columns, joint = [], kb.fitted["joint"]
    assert isinstance(joint, Joint)
    for data in (held_out, open_dataset(f"camvid:{args.data}", "val", kb.labels)):
        states = [Exact() for _ in (*WEIGHTS, "msp")]
        for sample in data:
            output = kb.forward(sample.image)
            z = joint.standard(output)
            scores = [(z * z.new_tensor(w).view(1, 3, 1, 1)).sum(1) for w in WEIGHTS] + [msp(output)]
            for state, score in zip(states, scores, strict=True):
                state.update(resize(score[:, None], sample.target.shape)[0, 0].numpy(), sample.target)
        columns.append([state.compute() for state in states])
    names = [*((f"{w:g}" for w in row) for row in WEIGHTS), ("msp", "", "")]
    rows = [
        (*name, *(cell for m in found for cell in (f"{m.ap:.3f}", f"{m.fpr95:.3f}")))
        for name, *found in zip(names, *columns, strict=True)
    ]
    header = ("log M", "u", "M - M_0", "AP, held out", "FPR95", "AP, val", "FPR95")
    markdown(f"Weights of the components, {args.variant}-{args.classifier}", header, rows)


def balance(args: argparse.Namespace) -> None:
    """Print the IoU of a class learned by probes of several balances, on held-out images; two draws of shots."""
    kb = load(args.runs / f"{args.variant}-{args.classifier}")
    _, held_out = sequences(args.data, kb.labels)
    known, _ = sequences(args.data, open_dataset(f"camvid:{args.data}", "train").labels)
    frames, forward, rows = spread_over(held_out, 34), CachedForward(kb.forward, 6.0), []
    for count in (5, 1):
        for name in UNKNOWN_CLASSES:
            found: dict[str, list[float]] = {str(b): [] for b in BALANCES}
            for seed in range(2):
                (drawn,) = sample_classes(known, [name], count, seed)
                for b in BALANCES:
                    updated = learn(kb, name, drawn.shots, method=Probe(balance=b), forward=forward)
                    iou = IoU.of(updated.labels.names)
                    for sample in DataSet(frames.source, updated.labels):
                        iou = iou.update(
                            updated.assess(forward(sample.image), sample.target.shape).labels, sample.target
                        )
                    found[str(b)].append(iou.per_class()[name])
            rows.append((name, str(count), *(f"{sum(v) / len(v):.3f}" for v in found.values())))
            print(*rows[-1], flush=True)
    header = ("class", "shots", *(f"{b:g}" if b is not None else "(1 + 1/m) / 2" for b in BALANCES))
    markdown(f"IoU on held-out images by the probe's balance, {args.variant}-{args.classifier}", header, rows)


def main() -> None:
    place = Path(os.environ.get("OWSEG_DATA", "."))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("train", "weights", "balance"))
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("--classifier", default="linear", choices=("prototype", "linear"))
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--data", type=Path, default=place / "camvid", help="CamVid, SegNet layout")
    parser.add_argument("--backbone", type=Path, default=Path("google/mobilenet_v2_1.0_224"))
    parser.add_argument("--runs", type=Path, default=Path("runs/held_out"))
    args = parser.parse_args()
    {"train": train, "weights": weights, "balance": balance}[args.step](args)


if __name__ == "__main__":
    main()
