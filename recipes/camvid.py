"""CamVid, open-world: the tables of docs/results/camvid.md.

    export OWSEG_DATA=DIR                                              # DIR/camvid holds the data
    python -m recipes.camvid train --classifier prototype --seed 0     # DMLNet's; seeds 0, 1, 2
    python -m recipes.camvid train --variance 0.1 --seed 0             # the same with ten times the variance loss;
    python -m recipes.camvid train --scale 1 --seed 0                  #   with prototypes nearer to each other
    python -m recipes.camvid train --classifier linear --seed 0        # the same network with a linear head and CE
    python -m recipes.camvid train --also car pedestrian bicyclist     # all 11 classes: the shipped street
    python -m recipes.camvid measure --split val                       # what choices were made on
    python -m recipes.camvid measure --classifier prototype            # what is reported: test; --multi-scale adds
    python -m recipes.camvid measure --classifier linear               #   mIoU over several scales, as the paper does
    python -m recipes.camvid tables                                    # the Markdown tables from runs/camvid/test/
    python -m recipes.camvid classes                                   # which classes fail
    python -m recipes.camvid ablate                                    # T and the weight of VL, on val

Car, pedestrian and bicyclist are unknown; the backbone is a MobileNetV2 trained on ImageNet. One training takes 20
core-minutes with bf16-mixed on a CPU that has bfloat16, about twice that with 32-true.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from owseg._files import write_whole
from owseg.data.dataset import DataSet, spread_over
from owseg.data.datasets import open_dataset
from owseg.evaluation.evaluate import evaluate
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.labels import UNKNOWN
from owseg.metrics.pixel import Exact, PerImage, PixelMetrics
from owseg.models.assemble import assemble
from owseg.models.backbones.base import from_pretrained
from owseg.training.build import build_knowledge_base
from owseg.training.config import TrainConfig
from owseg.training.segmentation import train as train_network
from recipes.tables import markdown, spread

UNKNOWN_CLASSES = ("car", "pedestrian", "bicyclist")
METRICS = ("auroc", "ap", "fpr95")
TUNED = TrainConfig(mode="tuned", label_stride=1, epochs=40, crop=(256, 352), scale=(0.75, 2.0), validate_every=4)
"""40 epochs, the first 40 % at half size, one cycle, frozen stem, averaged weights."""


def train(args: argparse.Namespace) -> None:
    """Train a network on all classes but the unknown ones; with --also, on some of those as well."""
    unknown = [n for n in args.unknown if n not in args.also]
    kind = args.classifier + (f"-T{args.scale:g}" if args.scale != 3 else "")
    kind += f"-VL{args.variance:g}" if args.variance != 0.01 else ""
    name = "-".join((kind, *args.also, str(args.seed)))
    started = time.process_time()
    kb = build_knowledge_base(
        f"camvid:{args.data}", str(args.backbone), unknown,
        replace(TUNED, seed=args.seed, precision=args.precision, variance_weight=args.variance),
        args.runs / f"{name}.run", classifier=args.classifier, half=True, decoder="aspp", width=128, members=1,
        resume=args.resume, scale=args.scale,
    )  # fmt: skip
    print(
        name,
        "version",
        kb.save(args.runs / name),
        f"after {(time.process_time() - started) / 60:.1f} core-minutes",
    )


class Both:
    """An accumulator of two protocols: pixels pooled, and DMLNet's mean over images."""

    def __init__(self) -> None:
        self.pooled, self.per_image = Exact(), PerImage()

    def update(self, score: np.ndarray, target: np.ndarray) -> None:
        self.pooled.update(score, target)
        self.per_image.update(score, target)

    def compute(self) -> PixelMetrics:
        return self.pooled.compute()

    def to_json(self) -> dict[str, Any]:
        return {"pooled": asdict(self.pooled.compute()), "per image": asdict(self.per_image.compute())}


def measure(args: argparse.Namespace) -> None:
    """Evaluate the trained networks of a classifier: all scores, IoU; full resolution for seed 0 of the DML ones."""
    place = args.runs / args.split
    place.mkdir(exist_ok=True)
    names = re.compile(rf"{args.classifier}(-T[\d.]+)?(-VL[\d.]+)?(-{'-'.join(args.unknown)})?-\d+")
    for directory in sorted(p for p in args.runs.iterdir() if names.fullmatch(p.name)):
        path, kb = place / f"{directory.name}.json", load(directory)
        result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        data = open_dataset(f"camvid:{args.data}", args.split, kb.labels)
        if "iou" not in result:
            result |= evaluated(kb, data)
        if directory.name == "prototype-0" and "full resolution" not in result:
            base = replace(kb, scorer="msp")
            full = evaluate(base, data, ("msp", "eds"), Both, partial(base.forward, full_resolution=True))
            result["full resolution"] = {n: s.to_json() for n, s in full.states.items()}
        if args.multi_scale and "multi-scale" not in result:
            averaged = evaluate(kb, data, metric=Both, forward=partial(kb.forward, multi_scale=True))
            scores = {n: s.to_json() for n, s in averaged.states.items()}
            result["multi-scale"] = {"miou": averaged.iou.mean(), "scores": scores}
        write_whole(path, json.dumps(result, indent=1).encode())
        print(directory.name, "measured", flush=True)


def evaluated(kb: KnowledgeBase, data: DataSet) -> dict[str, Any]:
    """Return IoU and the metrics of every score as plain JSON."""
    result = evaluate(kb, data, tuple(kb.scorers), Both)
    return {
        "iou": result.iou.per_class(),
        "miou": result.iou.mean(),
        "unknown_recall": result.unknown_recall,
        "known_fpr": result.known_fpr,
        "scores": {n: s.to_json() for n, s in result.states.items()},
    }


def classes(args: argparse.Namespace) -> None:
    """Print which classes fail: AUROC of each unknown class, false positives of each known class (seed 0)."""
    kb = load(args.runs / "prototype-0")
    data = open_dataset(f"camvid:{args.data}", args.split, kb.labels)
    names = ("msp", "eds", "max_similarity", "mahalanobis", "joint")
    scores: dict[str, dict[str, list[np.ndarray]]] = {n: {c: [] for c in data.source.classes.names} for n in names}
    for i in range(len(data)):
        image, raw = data.source.read(i)
        found = kb.assess(kb.forward(image), (image.shape[1], image.shape[2]), names).scores
        for name in names:
            for k, c in enumerate(data.source.classes.names):
                scores[name][c].append(found[name][raw == k][::4])
    unknown = data.unknown_classes()
    table, false_positives = [], []
    for name in names:
        values = {c: np.concatenate(v) for c, v in scores[name].items()}
        known = np.concatenate([values[c] for c in kb.labels.names])
        cells = []
        for c in unknown:
            state = Exact()
            state.update(
                np.concatenate([values[c], known]), np.repeat(np.uint8([UNKNOWN, 0]), [len(values[c]), len(known)])
            )
            cells.append(f"{state.compute().auroc:.3f}")
        table.append((name, *cells))
        limit = np.quantile(known, 0.95)
        false_positives.append((name, *(f"{(values[c] > limit).mean():.0%}" for c in kb.labels.names)))
    markdown("AUROC by unknown class", ("score", *unknown), table)
    markdown(
        "Share of each known class above the score's 95 % quantile of all", ("score", *kb.labels.names), false_positives
    )


def ablate(args: argparse.Namespace) -> None:
    """Print what T and the weight of the variance loss change: short trainings at half size, measured on val."""
    names, rows = ("msp", "eds", "max_similarity"), []
    for scale, weight in ((3.0, 0.01), (1.0, 0.01), (10.0, 0.01), (3.0, 0.0), (3.0, 0.1)):
        labels = open_dataset(f"camvid:{args.data}", "train").labels.without(args.unknown)
        frames = open_dataset(f"camvid:{args.data}", "train", labels, train=True)
        val = spread_over(open_dataset(f"camvid:{args.data}", "val", labels), 34)
        few = replace(TUNED, precision=args.precision, epochs=12, small=1.0, validate_every=12, variance_weight=weight)
        torch.manual_seed(0)
        network = assemble(from_pretrained(str(args.backbone)), len(labels), decoder="aspp", scale=scale)
        network = train_network(network, frames, val, few, args.runs / f"T{scale:g}-VL{weight:g}.run")
        result = evaluate(KnowledgeBase(network, labels), val, names)
        ap = (f"{result.scores[n].ap:.3f} / {result.scores[n].auroc:.3f}" for n in names)
        rows.append((f"{scale:g}", f"{weight:g}", f"{result.iou.mean():.3f}", *ap))
        print(rows[-1], flush=True)
    markdown("AP / AUROC by T and the weight of VL (val)", ("T", "weight", "mIoU", *names), rows)


def tables(args: argparse.Namespace) -> None:
    """Print the tables of docs/results/camvid.md: mean ± standard deviation over the trained networks."""
    found = {p.stem: json.loads(p.read_text()) for p in sorted((args.runs / args.split).glob("*.json"))}
    nets: dict[str, list[Any]] = {}
    for name, value in found.items():
        if match := re.fullmatch(r"((?:linear|prototype)(?:-T[\d.]+)?(?:-VL[\d.]+)?)-\d+", name):
            nets.setdefault(match[1], []).append(value)
    for protocol in ("pooled", "per image"):
        rows = [
            (kind, score, *(spread([n["scores"][score][protocol][m] for n in nets[kind]]) for m in METRICS))
            for kind in nets
            for score in nets[kind][0]["scores"]
        ]
        markdown(f"Anomaly scores, {protocol}", ("network", "score", "AUROC", "AP", "FPR95"), rows)
    classes = list(nets["prototype"][0]["iou"])
    rows = [
        (
            k,
            spread([n["miou"] for n in v]),
            spread([n["multi-scale"]["miou"] for n in v if "multi-scale" in n]),
            *(spread([n["iou"][c] for n in v], 2) for c in classes),
        )
        for k, v in nets.items()
    ]
    markdown("Known classes", ("network", "mIoU", "mIoU, multi-scale", *classes), rows)
    all_classes = [v for n, v in found.items() if n.startswith(f"prototype-{'-'.join(args.unknown)}")]
    if all_classes:
        names = list(all_classes[0]["iou"])
        sums = (
            spread([n["miou"] for n in all_classes]),
            spread([n["multi-scale"]["miou"] for n in all_classes if "multi-scale" in n]),
        )
        row = (*sums, *(spread([n["iou"][c] for n in all_classes], 2) for c in names))
        markdown(f"All 11 classes, {len(all_classes)} networks", ("mIoU", "mIoU, multi-scale", *names), [row])
    keys = ("unknown_recall", "known_fpr")
    rows = [(k, *(spread([n[key] for n in v]) for key in keys)) for k, v in nets.items()]
    markdown("The threshold at work", ("network", "unknown pixels called unknown", "known pixels called unknown"), rows)
    rows = [
        (name, score, f"{result['scores'][score]['pooled']['ap']:.4f}", f"{metrics['pooled']['ap']:.4f}")
        for name, result in found.items()
        for score, metrics in result.get("full resolution", {}).items()
    ]
    markdown("AP, scored at network and at full resolution", ("network", "score", "network", "full"), rows)


def main() -> None:
    place = Path(os.environ.get("OWSEG_DATA", "."))
    steps: dict[str, Callable[[argparse.Namespace], None]] = {
        "train": train, "measure": measure, "tables": tables, "classes": classes, "ablate": ablate,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=steps)
    parser.add_argument("--classifier", default="prototype", choices=("prototype", "linear"))
    parser.add_argument("--unknown", nargs="*", default=list(UNKNOWN_CLASSES), help="other classes, in another --runs")
    parser.add_argument("--also", nargs="*", default=(), help="which of them to know from the start")
    parser.add_argument("--scale", type=float, default=3.0, help="T of the prototypes")
    parser.add_argument("--variance", type=float, default=0.01, help="the weight of the variance loss")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--split", default="test")
    parser.add_argument("--multi-scale", action="store_true")
    parser.add_argument("--data", type=Path, default=place / "camvid", help="CamVid, SegNet layout")
    parser.add_argument("--backbone", type=Path, default=Path("google/mobilenet_v2_1.0_224"))
    parser.add_argument("--runs", type=Path, default=Path("runs/camvid"))
    args = parser.parse_args()
    steps[args.step](args)


if __name__ == "__main__":
    main()
