"""The knowledge base of the demo: eight classes of the synthetic street scenes, from ImageNet weights.

    python -m recipes.synthetic            # about 7 core-minutes with bf16-mixed

Writes runs/synthetic; `python -m recipes.ship synthetic=runs/synthetic` puts it into the package. The weights
are chosen and the threshold is calibrated on val; test is not read.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from owseg.training.build import build_knowledge_base
from owseg.training.config import TrainConfig

SIZE = 288  # half as large again as the scenes: an ImageNet network knows things that are larger than theirs
UNKNOWN_CLASSES = ("animal", "mattress", "boulder", "balloon")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--out", type=Path, default=Path("runs/synthetic"))
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    config = TrainConfig(
        epochs=args.epochs, crop=(224, 288), scale=(0.75, 1.5), precision=args.precision, validate_every=4
    )
    started = time.process_time()
    kb = build_knowledge_base(
        "synthetic",
        args.backbone,
        UNKNOWN_CLASSES,
        config,
        args.out.with_suffix(".run"),
        # A metric space, so that the demo has the scores and the prototypes of DMLNet, too.
        classifier="prototype",
        size=SIZE,
        scales=(1.0,),
        members=1,
        half=True,
        resume=args.resume,
    )
    print(
        "version",
        kb.save(args.out, slim=args.backbone.startswith("efficientnet-lite")),
        f"after {(time.process_time() - started) / 60:.1f} core-minutes",
    )


if __name__ == "__main__":
    main()
