"""A field in place of a street: soil and crop are known, weed is unknown and then learned, all by the defaults.

    export OWSEG_DATA=DIR                  # DIR/cwfid: the Crop/Weed Field Image Dataset (Haug and Ostermann, 2014)
    python -m recipes.field                # 19 core-minutes with bf16-mixed, and more to measure

Writes runs/field/kb. The data set's own split; image 28, which is in both of its lists, is in test alone. Every fifth
training image is val, one half of which chooses weights and fits scales, the other calibrates. Nothing is chosen on
test.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import yaml

from owseg._files import write_whole
from owseg.data.datasets import open_dataset, open_source
from owseg.evaluation.evaluate import evaluate
from owseg.learners.learn import learn
from owseg.learners.sequence import sample_classes
from owseg.training.build import build_knowledge_base
from owseg.training.config import TrainConfig
from owseg.training.epochs import enough_epochs
from recipes.tables import markdown, spread

UNKNOWN_CLASS = "weed"
SCORES = ("msp", "entropy", "max_logit", "mahalanobis_absolute", "joint", "joint@segments")
SHOTS, DRAWS = 5, 3


def divided(place: Path, into: Path) -> Path:
    """Write the data set as train/, val/ and test/ of a labelled folder, by links, and return that."""
    lists = yaml.safe_load((place / "train_test_split.yaml").read_text())
    test = sorted(lists["test"])
    train = sorted({*lists["train"]} - {*test})
    val = train[4::5]
    splits = {"train": [n for n in train if n not in val], "val": val, "test": test}
    if into.exists():
        shutil.rmtree(into)
    for split, numbers in splits.items():
        for kind, suffix in (("images", "jpg"), ("masks", "png")):
            (into / split / kind).mkdir(parents=True)
            for number in numbers:
                name = f"{number:03d}.{suffix}"
                (into / split / kind / name).symlink_to((place / kind / name).resolve())
    shutil.copy(place / "classes.json", into)
    return into


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("OWSEG_DATA", "data")))
    parser.add_argument("--runs", type=Path, default=Path("runs/field"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="by default as many as suit so few images")
    parser.add_argument("--precision", default="bf16-mixed")
    args = parser.parse_args()
    spec = f"folder:{divided(args.data / 'cwfid', args.runs / 'data')}"
    config = enough_epochs(TrainConfig(seed=args.seed, precision=args.precision), len(open_source(spec, "train").ids))
    config = config if args.epochs is None else replace(config, epochs=args.epochs)
    started = time.process_time()
    kb = build_knowledge_base(spec, unknown=[UNKNOWN_CLASS], config=config, run=args.runs / "run")
    kb.save(args.runs / "kb")
    print(f"trained in {(time.process_time() - started) / 60:.1f} core-minutes")
    test = open_dataset(spec, "test", kb.labels)
    found = evaluate(kb, test, SCORES)
    classes = ", ".join(f"{name} {iou:.3f}" for name, iou in found.iou.per_class().items())
    markdown(
        f"Field, {UNKNOWN_CLASS} unknown ({classes})",
        ("score", "AUROC", "AP", "FPR95"),
        [(n, f"{m.auroc:.3f}", f"{m.ap:.3f}", f"{m.fpr95:.3f}") for n, m in found.scores.items()],
    )
    learned = {}
    for draw in range(DRAWS):
        (drawn,) = sample_classes(open_dataset(spec, "train"), [UNKNOWN_CLASS], SHOTS, draw)
        new = learn(kb, UNKNOWN_CLASS, drawn.shots)
        learned[draw] = evaluate(new, open_dataset(spec, "test", new.labels)).iou.per_class()
    names = list(learned[0])
    rows = [(name, spread([iou[name] for iou in learned.values()])) for name in names]
    markdown(f"Learned from {SHOTS} images, {DRAWS} draws: IoU", ("class", "IoU"), rows)
    metrics = {n: {"auroc": m.auroc, "ap": m.ap, "fpr95": m.fpr95} for n, m in found.scores.items()}
    result = {"iou": found.iou.per_class(), "scores": metrics, "learned": learned}
    write_whole(args.runs / "measured.json", json.dumps(result, indent=1).encode())


if __name__ == "__main__":
    main()
