"""A held-out sequence: choices that have to hold on another sequence of images, made without reading test.

    export OWSEG_DATA=DIR                                  # DIR/camvid holds the data
    python -m recipes.held_out train base                  # or wide, slow, fast, long; 7 core-minutes, long 14
    python -m recipes.held_out train base --classifier prototype
    python -m recipes.held_out train frozen                # decoders on a frozen EfficientNet-Lite0; or short;
                                                           # --classifier prototype, --scale 1,
                                                           # --members 1: one decoder,
                                                           # --outliers: all of DIR/outlier_objects but one in eight
    python -m recipes.held_out known frozen                # IoU again
    python -m recipes.held_out weights base                # the weights of the components of the score joint
    python -m recipes.held_out weights frozen              # with DIR/outlier_objects and DIR/labelmefacade also there
    python -m recipes.held_out balance base --classifier prototype  # how much a probe favours the class it learns

CamVid's val is from the video sequence that most of train is from, test is mostly from another. Here a network is
trained on two of train's three sequences (0016E5, 0001TP; 266 images) and evaluated on the third (0006R0, 101 images):
24 epochs, 60 % of them at half size. Scorers are fitted on the two sequences, scales on val, as everywhere.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from owseg.data.dataset import DataSet, spread_over
from owseg.data.datasets import open_dataset
from owseg.data.outliers import Outliers, open_outliers
from owseg.evaluation.evaluate import evaluate
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import fit_scorers
from owseg.knowledge.load import load
from owseg.labels import IGNORE, UNKNOWN, LabelSpace
from owseg.learners.learn import learn
from owseg.learners.probe import Probe
from owseg.learners.sequence import sample_classes
from owseg.metrics.iou import IoU
from owseg.metrics.pixel import Exact
from owseg.models.assemble import assemble
from owseg.models.backbones.base import from_pretrained
from owseg.models.cache import CachedForward
from owseg.models.ops import resize
from owseg.scorers.joint import Joint
from owseg.scorers.msp import msp
from owseg.training.config import (
    DEFAULT_BACKBONE,
    MEMBERS,
    PROTOTYPE_SCALE,
    SCALES,
    WIDTH,
    NegativeConfig,
    PastingConfig,
    TrainConfig,
)
from owseg.training.negative import with_negative
from owseg.training.pasting import pasted, set_aside
from owseg.training.segmentation import train as train_network
from owseg.types import Sample
from recipes.camvid import TUNED, UNKNOWN_CLASSES
from recipes.tables import markdown
from recipes.towns import open_towns, where

HELD_OUT = "0006R0"
SIZE = 540
BASE = replace(TUNED, epochs=24, small=0.6, validate_every=24)
VARIANTS = {
    "base": BASE,
    "wide": replace(BASE, scale=(1.1, 3.0)),
    "slow": replace(BASE, backbone_lr=1e-4),
    "fast": replace(BASE, backbone_lr=1e-3),
    "long": replace(BASE, epochs=44, validate_every=44),
    "frozen": TrainConfig(validate_every=20),
    "short": TrainConfig(epochs=10, validate_every=10),
}
WEIGHTS = ((1.0, 1.0, 0.0), (0.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 0.5), (1.0, 0.5, 0.5), (1.0, 1.0, 0.25),
           (1.0, 0.75, 0.5), (1.0, 0.5, 0.25), (1.0, 0.5, 0.0))  # fmt: skip
NEGATIVE = ((0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (0.0, 1.0), (0.0, 2.0))
BALANCES = (1.0, None, 0.5, 0.0)


def place_of_data() -> Path:
    """Return the folder of CamVid."""
    return Path(os.environ.get("OWSEG_DATA", ".")) / "camvid"


def sequences(place: Path, labels: LabelSpace) -> tuple[DataSet, DataSet]:
    """Return the images of the two sequences to train on, and of the held-out one."""
    known = where(open_dataset(f"camvid:{place}", "train", labels, train=True), lambda n: not n.startswith(HELD_OUT))
    return known, where(open_dataset(f"camvid:{place}", "train", labels), lambda n: n.startswith(HELD_OUT))


def train(args: argparse.Namespace) -> None:
    """Train a variant and print how well it knows the held-out sequence."""
    labels = open_dataset(f"camvid:{args.data}", "train").labels.without(UNKNOWN_CLASSES)
    training, _ = sequences(args.data, labels)
    val = open_dataset(f"camvid:{args.data}", "val", labels)
    torch.manual_seed(args.seed)
    config = replace(VARIANTS[args.variant], precision=args.precision, seed=args.seed)
    frozen = config.mode == "frozen"
    backbone = from_pretrained(args.backbone or (DEFAULT_BACKBONE if frozen else "google/mobilenet_v2_1.0_224"))
    how: dict[str, Any] = {"decoder": "aspp", "width": 128}
    if frozen:
        how = {"width": args.width, "members": args.members, "size": SIZE, "scales": SCALES}
    network = assemble(backbone, len(labels), classifier=args.classifier, scale=args.scale, **how)
    name = name_of(args)
    run = args.runs / f"{name}.run"
    network = train_network(network, training, val, config, run)
    if args.outliers:
        objects, _ = set_aside(objects_of(args.data, labels))
        shown = NegativeConfig(precision=args.precision, seed=args.seed)
        network, _ = with_negative(network, training, val, objects, shown, run / "negative")
    kb = replace(fit_scorers(KnowledgeBase(network, labels), training, held_out=val), scorer="joint")
    kb.save(args.runs / name)
    known(args)


def known(args: argparse.Namespace) -> None:
    """Print IoU and mIoU of a trained variant on the held-out sequence, at one and at several scales."""
    name = name_of(args)
    kb = load(args.runs / name)
    _, held_out = sequences(args.data, kb.labels)
    single, several = (evaluate(kb, held_out, forward=partial(kb.forward, multi_scale=m)) for m in (False, True))
    classes = single.iou.per_class()
    row = (name, f"{single.iou.mean():.3f}", f"{several.iou.mean():.3f}", *(f"{v:.2f}" for v in classes.values()))
    markdown("Held-out sequence", ("variant", "mIoU", "mIoU, multi-scale", *classes), [row])


def weights(args: argparse.Namespace) -> None:
    """Print how well weighted sums of the components of joint find the unknown, on held-out images and on others.

    A negative class enters as it is or, as ``M - M_0`` does, through asinh.
    """
    kb, columns = load(args.runs / name_of(args)), {}
    joint = kb.fitted["joint"]
    assert isinstance(joint, Joint)
    tried = [(*w, *n) for w in (*WEIGHTS[3:5], WEIGHTS[6]) for n in NEGATIVE] if joint.negative else WEIGHTS
    for name, samples in weighed_on(args.data, kb.labels).items():
        states = [Exact() for _ in (*tried, "msp")]
        for sample in samples:
            output = kb.forward(sample.image)
            z = joint.standard(output)
            z = torch.cat([z, z[:, 3:].asinh()], 1)
            z[:, 2] = z[:, 2].clamp(min=0) if joint.rectify else z[:, 2]
            z[:, 2] = z[:, 2].asinh() if joint.compress else z[:, 2]
            scores = [(z * z.new_tensor(w).view(1, -1, 1, 1)).sum(1) for w in tried] + [msp(output)]
            for state, score in zip(states, scores, strict=True):
                state.update(resize(score[:, None], sample.target.shape)[0, 0].numpy(), sample.target)
        columns[name] = [state.compute() for state in states]
    names = [*([f"{w:g}" for w in row] for row in tried), ["msp", *[""] * (len(tried[0]) - 1)]]
    rows = [
        (*name, *(cell for m in found for cell in (f"{m.ap:.3f}", f"{m.fpr95:.3f}")))
        for name, *found in zip(names, *columns.values(), strict=True)
    ]
    parts = ("log M", "u", "M - M_0", "n", "asinh n")[: len(tried[0])]
    header = (*parts, *(cell for name in columns for cell in (f"AP, {name}", "FPR95")))
    markdown(f"Weights of the components, {name_of(args)}", header, rows)


def weighed_on(place: Path, labels: LabelSpace) -> dict[str, Iterable[Sample]]:
    """Return images with something unknown: of the held-out sequence, of val, and with objects pasted into them.

    The objects are those that no training shows (``set_aside``); the street photos of other towns are LabelMeFacade's
    (see ``recipes.towns``), where cars are unknown. What else is unknown in an image with objects is left out.
    """
    found: dict[str, Iterable[Sample]] = {"held out": sequences(place, labels)[1]}
    found["val"] = val = open_dataset(f"camvid:{place}", "val", labels)
    if (place.parent / "outlier_objects").exists():
        _, objects = set_aside(objects_of(place, labels))
        found["val, pasted"] = with_objects(val, objects)
        if (towns := place.parent / "labelmefacade").exists():
            photos = spread_over(open_towns(towns, val.source.classes, labels), 100)
            found["other towns"] = photos
            found["other towns, pasted"] = with_objects(photos, objects)
    return found


def with_objects(data: DataSet, objects: Outliers) -> Iterator[Sample]:
    """Yield the images of ``data`` with two objects pasted into each."""
    for i, sample in enumerate(data):
        known = replace(sample, target=np.where(sample.target == UNKNOWN, IGNORE, sample.target))
        yield pasted(known, objects, PastingConfig(pasted=2), np.random.default_rng([7, i]))


def objects_of(place: Path, labels: LabelSpace) -> Outliers:
    """Return the objects beside the images of CamVid, but for those of a known class."""
    return open_outliers(place.parent / "outlier_objects").unknown_to(labels)


def name_of(args: argparse.Namespace) -> str:
    """Return the name of a trained variant."""
    scale = "" if args.scale == PROTOTYPE_SCALE else f"-T{args.scale:g}"
    decoders = "" if (args.members, args.width) == (MEMBERS, WIDTH) else f"-{args.members}x{args.width}"
    shown = "-outliers" if args.outliers else ""
    return f"{args.variant}-{args.classifier}{scale}{decoders}{shown}" + (f"-{args.seed}" if args.seed else "")


def balance(args: argparse.Namespace) -> None:
    """Print the IoU of a class learned by probes of several balances, on held-out images; two draws of shots."""
    kb = load(args.runs / name_of(args))
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
    markdown(f"IoU on held-out images by the probe's balance, {name_of(args)}", header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("train", "known", "weights", "balance"))
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("--classifier", default="linear", choices=("prototype", "linear"))
    parser.add_argument("--scale", type=float, default=PROTOTYPE_SCALE, help="T of the prototypes")
    parser.add_argument("--members", type=int, default=MEMBERS, help="how many decoders, on a frozen backbone")
    parser.add_argument("--width", type=int, default=WIDTH, help="channels of each")
    parser.add_argument("--outliers", action="store_true", help="show outliers in training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--data", type=Path, default=place_of_data(), help="CamVid, SegNet layout")
    parser.add_argument("--backbone", help="by default EfficientNet-Lite0 where it is frozen, else MobileNetV2")
    parser.add_argument("--runs", type=Path, default=Path("runs/held_out"))
    args = parser.parse_args()
    {"train": train, "known": known, "weights": weights, "balance": balance}[args.step](args)


if __name__ == "__main__":
    main()
