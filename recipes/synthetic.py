"""The knowledge base of the demo: eight classes of the synthetic streets, from random weights.

    python -m recipes.synthetic            # about 7 core-minutes with bf16-mixed

Writes runs/synthetic; `--ship` puts it into the package. Chosen and calibrated on val; nothing here opens test.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

import torch

from owseg.build import build_knowledge_base
from owseg.models.backbones import build
from owseg.shipped import SHIPPED
from owseg.train import TrainConfig

UNKNOWN_CLASSES = ("animal", "mattress", "boulder", "balloon")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--out", type=Path, default=Path("runs/synthetic"))
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--ship", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    backbone = build(
        {
            "config": {"model_type": "mobilenet_v2", "depth_multiplier": 0.5, "output_stride": 16},
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
        }
    )
    config = TrainConfig(
        epochs=args.epochs, crop=(160, 224), scale=(0.75, 1.5), lr=3e-3, backbone_lr=3e-3, small=0.3,
        freeze_stem=False, precision=args.precision,
    )  # fmt: skip
    started = time.process_time()
    kb = build_knowledge_base(
        "synthetic",
        backbone,
        UNKNOWN_CLASSES,
        config,
        args.out.with_suffix(".run"),
        half=True,
        resume=args.resume,
    )
    print("version", kb.save(args.out), f"after {(time.process_time() - started) / 60:.1f} core-minutes")
    if args.ship:
        shutil.rmtree(SHIPPED / "synthetic", ignore_errors=True)
        kb.save(SHIPPED / "synthetic")


if __name__ == "__main__":
    main()
