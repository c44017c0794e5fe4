"""How a probe was chosen: what it finds in a drive that none of its shots is of, and what it leaves to be found.

    export OWSEG_DATA=DIR                              # DIR/camvid holds the data
    python -m recipes.probe                            # the table of docs/learning.md; 15 core-minutes
    python -m recipes.probe --draws 3 --every 1        # on all images

CamVid's train is of three drives, and val of one of them. Shots are drawn from two of them, by each seed the same for
every variant, and the class that was learned is looked for in the third, or in val. ``--kb`` does not know car,
pedestrian and bicyclist, each of which is learned alone. Its network was trained on all three drives; a probe reads its
frozen backbone. Test is not read.

Columns: the IoU of the class, mean over folds and draws; what the mIoU of the known classes gains; of the pixels of
each of the other two, which stay unknown, the share that is found: before, and once the class is learned.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from owseg._progress import track
from owseg.data.dataset import DataSet
from owseg.data.datasets import open_dataset
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.learners.learn import learn
from owseg.learners.probe import Probe
from owseg.learners.sequence import sample_classes
from owseg.metrics.iou import IoU
from owseg.models.cache import CachedForward
from recipes.tables import markdown
from recipes.towns import where

CLASSES = ("car", "pedestrian", "bicyclist")
DRIVES = ("0016E5", "0001TP", "0006R0")
VARIANTS = {
    "FAVOUR = 0, C = 100": Probe(strength=100, favour=0),
    "FAVOUR = 0": Probe(favour=0),
    "FAVOUR = 0.75": Probe(favour=0.75),
    "the default, FAVOUR = 1.5": Probe(),
    "FAVOUR = 3": Probe(favour=3),
    "30 views": Probe(views=30),
}


def folds(data: str) -> Iterator[tuple[DataSet, DataSet]]:
    """Yield images to draw shots from, and those of the drive that is left out: of 0016E5 val."""
    for drive in DRIVES:
        shown = where(open_dataset(data, "train"), lambda name, drive=drive: not name.startswith(drive))
        split = "val" if drive == DRIVES[0] else "train"
        yield shown, where(open_dataset(data, split), lambda name, drive=drive: name.startswith(drive))


class Counts:
    """What is counted of a class learned from one draw of shots: IoU without and with it, and what is found of others.

    ``pixels`` are, by other class, how many there are, and how many are unknown without and with the class.
    """

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        self.name, self.iou = name, [IoU.of(labels)] * 2
        self.pixels = {other: np.zeros(3, np.int64) for other in CLASSES if other != name}

    def update(self, maps: Sequence[tuple[np.ndarray, np.ndarray]], target: np.ndarray, ids: np.ndarray,
               names: Sequence[str]) -> None:  # fmt: skip
        """Count an image: labels, and what is unknown, without and with the class; target, and ids of the ``names``."""
        self.iou = [iou.update(closed, target) for iou, (closed, _) in zip(self.iou, maps, strict=True)]
        for other, pixels in self.pixels.items():
            of_it = ids == names.index(other)
            pixels += [of_it.sum(), *((of_it & unknown).sum() for _, unknown in maps)]


def measure(kb: KnowledgeBase, data: str, draws: int, every: int) -> dict[tuple[str, int, str], list[Counts]]:
    """Return the counts by class, number of shots and variant: an entry for each fold and draw."""
    found: dict[tuple[str, int, str], list[Counts]] = {}
    for shown, left_out in folds(data):
        forward, made = CachedForward(kb.engine(), 6.0), []
        for name in CLASSES:
            for count in (5, 1):
                for seed in range(draws):
                    (new,) = sample_classes(shown, [name], count, seed)
                    for variant, probe in VARIANTS.items():
                        stage = learn(kb, name, new.shots, method=probe, forward=forward)
                        made.append((stage, Counts(name, stage.labels.names)))
                        found.setdefault((name, count, variant), []).append(made[-1][1])
        source, numbers = left_out.source, range(0, len(left_out), every)
        labels = {counts.name: stage.labels for stage, counts in made}
        for i in track(numbers, "evaluating", len(numbers)):
            image, ids = source.read(i)
            targets = {name: DataSet(source, of)[i].target for name, of in labels.items()}
            output = kb.forward(image)
            before = kb.assess(output, ids.shape)
            unknown = before.scores[kb.scorer] > kb.threshold.value
            for stage, counts in made:
                after = stage.assess(output, ids.shape, ("msp",))  # whose labels are wanted; the score is known
                maps = (before.labels, unknown), (after.labels, unknown & ~after.learned)
                counts.update(maps, targets[counts.name], ids, source.classes.names)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kb", default="street8-inliers")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--every", type=int, default=4, help="evaluate every n-th image")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("OWSEG_DATA", ".")) / "camvid")
    args = parser.parse_args()
    torch.set_num_threads(1)
    kb = load(args.kb)
    known, found, rows = kb.labels.names, measure(kb, f"camvid:{args.data}", args.draws, args.every), []
    for (name, count, variant), parts in found.items():
        iou = np.mean([p.iou[1].per_class()[name] for p in parts])
        gain = np.mean([p.iou[1].mean(known) - p.iou[0].mean(known) for p in parts])
        left = {o: sum(p.pixels[o] for p in parts) for o in parts[0].pixels}
        shares = (f"{o}: {n[1] / n[0]:.3f} -> {n[2] / n[0]:.3f}" for o, n in left.items())
        rows.append((name, str(count), variant, f"{iou:.3f}", f"{gain:+.3f}", *shares))
    markdown("A drive left out", ("class", "shots", "probe", "IoU", "known", "found of others", ""), rows)


if __name__ == "__main__":
    main()
