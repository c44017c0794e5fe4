"""Backbones that stay as they are, and those that are tuned: docs/backbones.md, and the shipped street and street8.

    export OWSEG_DATA=DIR                                    # DIR/camvid, DIR/anomaly and DIR/outlier_objects
    python -m recipes.backbones train --seed 0               # 8 classes: car, pedestrian, bicyclist are unknown
    python -m recipes.backbones train --seed 0 --all         # 11 classes
    python -m recipes.backbones train --seed 0 --all --outliers      # and shown outliers
    python -m recipes.backbones train --backbone efficientnet-lite1 --mode tuned --seed 0
    python -m recipes.backbones train --classifier linear --seed 0   # in place of prototypes
    python -m recipes.backbones train --scale 1 --seed 0     # prototypes nearer to each other
    python -m recipes.backbones train --scales 1,0.667 --seed 0      # each image at two sizes; the shipped have one
    python -m recipes.backbones measure                      # test of CamVid, RoadAnomaly21, Fishyscapes Lost & Found
    python -m recipes.backbones table                        # the Markdown table

A training on a frozen EfficientNet-Lite0 takes about 18 core-minutes with bf16-mixed on a CPU that has bfloat16. Half
of val chooses the weights and the scales of the score; the other sets are read to report.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from owseg._files import write_whole
from owseg.cli._options import parse_scales
from owseg.data.datasets import open_dataset
from owseg.data.outliers import open_outliers
from owseg.evaluation.evaluate import evaluate
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.training.build import build_knowledge_base
from owseg.training.config import TrainConfig
from recipes.tables import markdown, spread

UNKNOWN_CLASSES = ("car", "pedestrian", "bicyclist")
SIZE = 540
SETS = {
    "camvid": ("camvid:{}/camvid", "test"),
    "roadanomaly21": ("roadanomaly21:{}/anomaly/RoadAnomaly21", "val"),
    "lostandfound": ("fishyscapes-lostfound:{}/anomaly/FS_LostFound_1024x512", "val"),
}
CONFIG = TrainConfig(epochs=20, views=4, crop=(320, 448), scale=(2 / 3, 1.5), validate_every=5)


def train(args: argparse.Namespace) -> None:
    """Train a network at a working size of 540 pixels, half as large again as CamVid's images."""
    config = replace(CONFIG, mode=args.mode, seed=args.seed, precision=args.precision)
    if args.mode == "tuned":
        config = replace(config, epochs=40, label_stride=1)
    classes = "11" if args.all else "8"
    head = args.classifier if args.classifier != "prototype" else f"T{args.scale:g}" if args.scale != 3 else ""
    scales = "" if args.scales == "1" else f"scales{args.scales}"
    kind = (Path(args.backbone).name, args.mode, head, scales, "outliers" if args.outliers else "")
    parts = (*(part for part in kind if part), classes, str(args.seed))
    started, wall = time.process_time(), time.perf_counter()
    kb = build_knowledge_base(
        f"camvid:{args.data}/camvid",
        args.backbone,
        () if args.all else UNKNOWN_CLASSES,
        config,
        args.runs / f"{'-'.join(parts)}.run",
        classifier=args.classifier,
        scale=args.scale,
        size=SIZE,
        scales=parse_scales(args.scales),
        half=True,
        outliers=open_outliers(args.data / "outlier_objects") if args.outliers else None,
        resume=args.resume,
    )
    version = kb.save(args.runs / "-".join(parts), slim=args.mode == "frozen")
    core, minutes = (time.process_time() - started) / 60, (time.perf_counter() - wall) / 60
    print(f"{'-'.join(parts)} version {version} after {core:.1f} core-minutes, {minutes:.1f} minutes")


def measure(args: argparse.Namespace) -> None:
    """Evaluate every trained network on every set, unknown classes and scores; figures are kept in runs/measured."""
    for directory in sorted(p for p in args.runs.iterdir() if (p / "CURRENT").exists()):
        path = args.runs / "measured" / f"{directory.name}.json"
        result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        kb = load(directory)
        for name, (spec, split) in SETS.items():
            data = open_dataset(spec.format(args.data), split, kb.labels)
            # Away from home only networks that know all of CamVid's classes are asked: cars are no anomaly there.
            if name in result or (name != "camvid" and "car" not in kb.labels):
                continue
            found = evaluate(kb, data, tuple(kb.scorers))
            scores = {n: {"ap": s.ap, "fpr95": s.fpr95} for n, s in found.scores.items()}
            result[name] = {"miou": found.iou.mean(), "iou": found.iou.per_class(), "scores": scores}
            path.parent.mkdir(exist_ok=True)
            write_whole(path, json.dumps(result, indent=1).encode())
            print(directory.name, name, "measured", flush=True)
        if "ms" not in result:
            result["ms"] = milliseconds(kb, args.data)
            write_whole(path, json.dumps(result, indent=1).encode())


def milliseconds(kb: KnowledgeBase, data: Path) -> dict[str, float]:
    """Return the median time in ms of a forward pass and of its score, of an image of CamVid, on one thread."""
    torch.set_num_threads(1)
    image = open_dataset(f"camvid:{data}/camvid", "test", kb.labels)[0].image
    output, size = kb.forward(image), (image.shape[1], image.shape[2])
    return {
        "forward": _median(lambda: kb.forward(image)),
        "score": _median(lambda: kb.assess(output, size)),
    }


def _median(call: Callable[[], object], times: int = 7) -> float:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - started))
    return sorted(taken)[times // 2]


def table(args: argparse.Namespace) -> None:
    """Print the table of docs/backbones.md, mean ± standard deviation over seeds, with the score joint."""
    found: dict[str, dict[str, list[Any]]] = {}
    for path in sorted((args.runs / "measured").glob("*.json")):
        kind, classes, _ = path.stem.rsplit("-", 2)
        found.setdefault(kind, {}).setdefault(classes, []).append(json.loads(path.read_text()))
    rows = []
    for kind, nets in found.items():
        small, large = nets.get("8", []), nets.get("11", [])
        rows.append((
            kind, spread([n["camvid"]["miou"] for n in large]), spread([n["camvid"]["miou"] for n in small]),
            _joint(small, "camvid"), _joint(large, "roadanomaly21"), _joint(large, "lostandfound"),
            *(spread([n["ms"][part] for n in small + large], 0) for part in ("forward", "score")),
        ))  # fmt: skip
    header = (
        "network",
        "mIoU, 11",
        "mIoU, 8",
        "CamVid: AP / FPR95",
        "RoadAnomaly21",
        "Lost & Found",
        "ms",
        "score, ms",
    )
    markdown("Backbones", header, rows)


def _joint(nets: list[Any], name: str) -> str:
    scores = [n[name]["scores"]["joint"] for n in nets if name in n]
    return f"{spread([s['ap'] for s in scores])} / {spread([s['fpr95'] for s in scores])}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("train", "measure", "table"))
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--mode", default="frozen")
    parser.add_argument("--classifier", default="prototype")
    parser.add_argument("--scale", type=float, default=3.0, help="T of the prototypes")
    parser.add_argument("--scales", default="1", help="factors of the working size, with commas")
    parser.add_argument("--all", action="store_true", help="know all 11 classes")
    parser.add_argument("--outliers", action="store_true", help="show outliers in training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("OWSEG_DATA", "data")))
    parser.add_argument("--runs", type=Path, default=Path("runs/backbones"))
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    {"train": train, "measure": measure, "table": table}[args.step](args)


if __name__ == "__main__":
    main()
