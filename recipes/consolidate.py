"""What becomes of classes that were learned one after the other when they become part of the network.

    export OWSEG_DATA=DIR                                    # DIR/camvid
    python -m recipes.consolidate KB --draws 0,1             # KB knows CamVid's classes but car, pedestrian, bicyclist

KB learns the three from five shots each, and one network of eleven classes is trained from it (``owseg train --from``),
on CamVid's train split with the masks of the eight classes alone: the three have the labels that KB predicts there.
Both are measured on CamVid's test. One draw takes 27 core-minutes with one decoder on a frozen EfficientNet-Lite0.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch

from owseg._files import write_whole
from owseg.data.datasets import open_dataset
from owseg.evaluation.evaluate import evaluate
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.learners.sequence import learn_sequence, sample_classes
from owseg.metrics.iou import harmonic
from owseg.training.config import TrainConfig
from owseg.training.consolidate import consolidate
from recipes.backbones import UNKNOWN_CLASSES
from recipes.tables import markdown


def measured(kb: KnowledgeBase, data: str, old: tuple[str, ...]) -> dict[str, Any]:
    """Return the mean IoU of the ``old`` classes, of the others, their harmonic mean, and what was lost and found."""
    result = evaluate(kb, open_dataset(data, "test", kb.labels))
    iou = result.iou.per_class()
    of_old, of_new = ([iou[n] for n in kb.labels.names if (n in old) == which] for which in (True, False))
    means = sum(of_old) / len(of_old), sum(of_new) / len(of_new)
    return {"old": means[0], "new": means[1], "harmonic": harmonic(*means), "known_fpr": result.known_fpr, "iou": iou}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kb")
    parser.add_argument("--draws", default="0", help="numbers of the draws of shots")
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--data", default=f"camvid:{os.environ.get('OWSEG_DATA', '.')}/camvid")
    parser.add_argument("--runs", type=Path, default=Path("runs/consolidate"))
    parser.add_argument("--precision", default="bf16-mixed")
    args = parser.parse_args()
    torch.set_num_threads(1)
    base, rows = load(args.kb), []
    frames = open_dataset(args.data, "train")
    for draw in (int(number) for number in args.draws.split(",")):
        place = args.runs / f"{Path(args.kb).name}-{args.shots}-{draw}"
        kept = place.with_suffix(".json")
        found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
        after = learn_sequence(base, sample_classes(frames, UNKNOWN_CLASSES, args.shots, draw))[-1]
        if not found:
            found["learned"] = measured(after, args.data, base.base_classes)
            config = TrainConfig(precision=args.precision, seed=draw)
            whole = consolidate(after, args.data, config, place, unknown=UNKNOWN_CLASSES, resume=place.exists())
            whole.save(place / "kb")
            found["one network"] = measured(whole, args.data, base.base_classes)
            write_whole(kept, json.dumps(found, indent=1).encode())
        for name, m in found.items():
            cells = (f"{m[key]:.3f}" for key in ("old", "new", "harmonic", "known_fpr"))
            rows.append((f"{name}, draw {draw}", *cells))
    header = ("", "mIoU, 8 old classes", "mIoU, 3 new", "harmonic", "known pixels lost")
    markdown(f"{args.shots} shots of each of {', '.join(UNKNOWN_CLASSES)}, CamVid's test", header, rows)


if __name__ == "__main__":
    main()
