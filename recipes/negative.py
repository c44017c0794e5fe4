"""A negative class beside a finished network: what it finds, and what it finds if no animal was shown to it.

    export OWSEG_DATA=DIR                                           # DIR/camvid, DIR/anomaly and DIR/outlier_objects
    python -m recipes.negative train street-inliers --seed 0            # about 10 core-minutes
    python -m recipes.negative train street-inliers --seed 0 --strict   # RoadAnomaly21 shows animals, so none is shown
    python -m recipes.negative train street8-inliers --seed 0
    python -m recipes.negative train street8-inliers --photos --unsure 0   # photos of other towns, all of each
    python -m recipes.negative train street8-inliers --photos      # but for the unsure tenth; see recipes.segments
    python -m recipes.negative measure      # CamVid test where classes are unknown, else RoadAnomaly21, Lost & Found
    python -m recipes.negative table

One half of CamVid val validates and fits the scale of the score, the other half calibrates the threshold.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from itertools import product
from pathlib import Path
from typing import Any

from owseg._files import write_whole
from owseg.data.dataset import joined
from owseg.data.datasets import open_dataset
from owseg.data.outliers import open_outliers
from owseg.data.unlabeled import unlabeled_images
from owseg.knowledge.calibration import calibrate, divide_val
from owseg.knowledge.load import load
from owseg.training.config import NegativeConfig
from owseg.training.negative import train_negative
from recipes.backbones import SETS, evaluated
from recipes.tables import markdown, spread
from recipes.towns import shown_photos

ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "elephant", "bear", "zebra", "giraffe", "teddy bear")


def train(args: argparse.Namespace) -> None:
    """Train a negative class beside a network and store both, calibrated on the other half of val."""
    kb = load(args.kb)
    objects = open_outliers(args.data / "outlier_objects").unknown_to(kb.labels)
    objects = objects.without(ANIMALS) if args.strict else objects
    frames = open_dataset(f"camvid:{args.data}/camvid", "train", kb.labels, train=True)
    if args.photos:  # of LabelMeFacade; they show cars, which a network of eight classes does not know
        frames = joined(frames, unlabeled_images(shown_photos(args.data / "labelmefacade"), kb.labels))
    choose, calibration = divide_val(open_dataset(f"camvid:{args.data}/camvid", "val", kb.labels))
    members = "" if args.members == NegativeConfig.members else f"-{args.members}"
    photos = f"-photos{args.unsure:g}" if args.photos else ""
    name = f"{Path(args.kb).name}-{'strict' if args.strict else 'all'}{members}{photos}-{args.seed}"
    config = NegativeConfig(seed=args.seed, precision=args.precision, members=args.members, unsure=args.unsure)
    started = time.process_time()
    new = train_negative(kb, frames, choose, objects, config, args.runs / f"{name}.run")
    minutes = (time.process_time() - started) / 60
    version = calibrate(new, calibration, 0.05).save(args.runs / name, slim=True)
    print(f"{name} version {version} after {minutes:.1f} core-minutes: {new.history[-1].message}")


def measure(args: argparse.Namespace) -> None:
    """Evaluate what was trained; metrics are kept in runs/measured."""
    for directory in sorted(p for p in args.runs.glob(args.only) if (p / "CURRENT").exists()):
        path = args.runs / "measured" / f"{directory.name}.json"
        if path.exists():
            continue
        kb = load(directory)
        sets = ("roadanomaly21", "lostandfound") if "bicyclist" in kb.labels else ("camvid",)
        found: dict[str, Any] = {name: evaluated(kb, args.data, *SETS[name]) for name in sets}
        write_whole(path, json.dumps(found, indent=1).encode())
        print(directory.name, "measured", flush=True)


def table(args: argparse.Namespace) -> None:
    """Print AP and FPR95 of the scores negative and joint, mean ± standard deviation over seeds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((args.runs / "measured").glob("*.json")):
        found.setdefault(path.stem.rsplit("-", 1)[0], []).append(json.loads(path.read_text()))
    rows = []
    for kind, nets in found.items():
        for name, score in product(nets[0], ("negative", "joint")):
            scores = [net[name]["scores"][score] for net in nets]
            metrics = (spread([s[metric] for s in scores]) for metric in ("ap", "fpr95"))
            rows.append((kind, name, score, str(len(nets)), *metrics))
    markdown("A negative class", ("network, outliers", "images", "score", "seeds", "AP", "FPR95"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("train", "measure", "table"))
    parser.add_argument("kb", nargs="?", default="street-inliers", help="a network without a negative class")
    parser.add_argument("--strict", action="store_true", help="show no animal")
    parser.add_argument("--photos", action="store_true", help="show photos of other towns, without labels, as inliers")
    parser.add_argument(
        "--unsure", type=float, default=NegativeConfig.unsure, help="the share of each that is left out"
    )
    parser.add_argument("--members", type=int, default=NegativeConfig.members, help="how many decoders")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("OWSEG_DATA", "data")))
    parser.add_argument("--runs", type=Path, default=Path("runs/negative"))
    parser.add_argument("--only", default="*", help="measure only networks of such names")
    args = parser.parse_args()
    {"train": train, "measure": measure, "table": table}[args.step](args)


if __name__ == "__main__":
    main()
