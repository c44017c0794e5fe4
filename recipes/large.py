"""Large frozen backbones on Cityscapes: DINOv2-L and DINOv3-L, for a machine with a GPU. Not run yet.

    export OWSEG_DATA=DIR      # DIR/cityscapes, DIR/anomaly/RoadAnomaly21, DIR/anomaly/FS_LostFound_1024x512
    python -m recipes.large train --backbone facebook/dinov2-with-registers-large --outliers OBJECTS
    python -m recipes.large train --backbone facebook/dinov3-vitl16-pretrain-lvd1689m --outliers OBJECTS
    python -m recipes.large residual --outliers OBJECTS       # RPL and CoroCL over each, into NAME-residual
    python -m recipes.large measure                           # the table, in Markdown

OBJECTS is a folder of things that are none of Cityscapes' classes (docs/outliers.md). The backbone stays as it is:
decoder, Gaussians, negative class and residual learn on its features, which are too large to be kept for 2975 images
and are computed anew. A rough estimate from the operations of a ViT-L on 518x518 pixels, not measured: 3 PFLOP an
epoch, 60 in all, so with the decoder about an hour on an A100, and as long again for the residual.

Published with such backbones, on RoadAnomaly21's hidden test (AP / FPR95): cDNP .889 / .114, AnomDINO + RPL .948 /
.081. This should come out between the two.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from owseg.data.datasets import open_dataset
from owseg.data.outliers import open_outliers
from owseg.data.unlabeled import hold_out
from owseg.evaluation.evaluate import evaluate
from owseg.knowledge.calibration import calibrate, divide_val
from owseg.knowledge.load import load
from owseg.training.build import build_knowledge_base
from owseg.training.config import ResidualConfig, TrainConfig
from owseg.training.residual import train_residual
from recipes.tables import markdown

SETS = {
    "Cityscapes": ("cityscapes:{}/cityscapes", "val"),
    "RoadAnomaly21": ("roadanomaly21:{}/anomaly/RoadAnomaly21", "val"),
    "Lost & Found": ("fishyscapes-lostfound:{}/anomaly/FS_LostFound_1024x512", "val"),
}


def train(args: argparse.Namespace) -> None:
    """Train decoder, Gaussians and, with outliers, the negative class; one knowledge base a backbone."""
    config = TrainConfig(
        epochs=args.epochs, views=args.epochs, batch=args.batch, crop=(args.size, args.size), scale=(0.75, 2.0),
        precision=args.precision, devices=args.devices,
    )  # fmt: skip
    place = args.runs / Path(args.backbone).name
    outliers = open_outliers(args.outliers) if args.outliers else None
    kb = build_knowledge_base(
        f"cityscapes:{args.data}/cityscapes", args.backbone, (), config, place.with_suffix(".run"),
        size=args.size, outliers=outliers, half=True, resume=args.resume,
    )  # fmt: skip
    print(place, "version", kb.save(place))


def residual(args: argparse.Namespace) -> None:
    """Train a residual pattern over each trained network, on the same images."""
    config = ResidualConfig(
        epochs=args.epochs, batch=args.batch, crop=(args.size, args.size), precision=args.precision,
        devices=args.devices,
    )  # fmt: skip
    for place in trained(args.runs):
        kb = load(place)
        known, held_out = hold_out(open_dataset(f"cityscapes:{args.data}/cityscapes", "train", kb.labels))
        choose, calibration = divide_val(held_out)
        objects = open_outliers(args.outliers).unknown_to(kb.labels)
        run = place.with_name(f"{place.name}-residual.run")
        kb = calibrate(train_residual(kb, known, choose, objects, None, config, run, args.resume), calibration)
        print(place, "version", kb.save(place.with_name(f"{place.name}-residual")))


def trained(runs: Path) -> list[Path]:
    """Return the folders of the knowledge bases without a residual."""
    return sorted(p for p in runs.iterdir() if (p / "CURRENT").exists() and not p.name.endswith("-residual"))


def measure(args: argparse.Namespace) -> None:
    """Print mIoU on Cityscapes' val, and AP / FPR95 of every score that a knowledge base has, away from it."""
    rows = []
    for place in sorted(p for p in args.runs.iterdir() if (p / "CURRENT").exists()):
        kb = load(place)
        names = tuple(name for name in ("msp", "mahalanobis", "negative", "joint", "rpl") if name in kb.scorers)
        for title, (spec, split) in SETS.items():
            place_of_set = Path(spec.format(args.data).partition(":")[2])
            if place_of_set.exists():
                found = evaluate(kb, open_dataset(spec.format(args.data), split, kb.labels), names)
                scores = (f"{n}: {s.ap:.3f} / {s.fpr95:.3f}" for n, s in found.scores.items())
                rows.append((place.name, title, f"{found.iou.mean():.3f}", "; ".join(scores)))
    markdown("Large frozen backbones", ("network", "data", "mIoU", "AP / FPR95"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("train", "residual", "measure"))
    parser.add_argument("--backbone", default="facebook/dinov2-with-registers-large")
    parser.add_argument("--outliers", type=Path)
    parser.add_argument("--size", type=int, default=518, help="working size, and the side of a training view")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("OWSEG_DATA", "data")))
    parser.add_argument("--runs", type=Path, default=Path("runs/large"))
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    args.runs.mkdir(parents=True, exist_ok=True)
    {"train": train, "residual": residual, "measure": measure}[args.step](args)


if __name__ == "__main__":
    main()
