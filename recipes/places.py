"""Thresholds in new places: how much of what is known is lost there, as it is and after `owseg adapt`.

    export OWSEG_DATA=DIR                                  # DIR/camvid, DIR/anomaly, DIR/labelmefacade
    python -m recipes.places                               # of street by its own score
    python -m recipes.places --scorers joint,joint@segments

Thresholds are found at 5 % on the second half of CamVid's val (``divide_val``). Each place has at most 16 images,
Lost & Found and CamVid's test 24, evenly spread; of LabelMeFacade, each town of eight images or more that no training
sees (``recipes.towns``). The threshold is
moved by eight images, drawn three times where there are more, and measured on all of the place. Every second to seventh
row and column counts. Scores are kept in --runs; computing them takes a second or two of one core for an image.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from owseg._progress import track
from owseg.data.dataset import DataSet, spread_over
from owseg.data.datasets import open_dataset
from owseg.knowledge.adaptation import find_shift, moved
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.labels import UNKNOWN, LabelSpace
from owseg.metrics.threshold import threshold_at_fpr
from owseg.openset import Reference, Threshold, quantiles
from recipes.tables import markdown
from recipes.towns import open_towns, town_of, where

IMAGES, DRAWS, MOST, LEAST = 8, 3, 16, 8
GRID = 40_000


@dataclass(frozen=True)
class Scores:
    """The scores of the images of a place by one scorer, and their ground truth, (h, w) each."""

    scores: list[np.ndarray]
    targets: list[np.ndarray]

    def share(self, value: float, unknown: bool) -> float:
        """Return the share of known, or unknown, pixels above ``value``; NaN without any."""
        pairs = zip(self.scores, self.targets, strict=True)
        pooled = np.concatenate([s[t == UNKNOWN if unknown else t < UNKNOWN] for s, t in pairs])
        return float((pooled > np.float32(value)).mean()) if pooled.size else np.nan

    def pick(self, numbers: Sequence[int]) -> Scores:
        """Return those of some images."""
        return Scores([self.scores[i] for i in numbers], [self.targets[i] for i in numbers])


def places(place: Path, labels: LabelSpace) -> Iterator[tuple[str, DataSet]]:
    """Yield the images of each place by its name, CamVid's val first."""
    val = open_dataset(f"camvid:{place}/camvid", "val", labels)
    yield "CamVid val", val
    yield "CamVid test", spread_over(open_dataset(f"camvid:{place}/camvid", "test", labels), 24)
    yield "RoadAnomaly21", open_dataset(f"roadanomaly21:{place}/anomaly/RoadAnomaly21", "val", labels)
    lost = open_dataset(f"fishyscapes-lostfound:{place}/anomaly/FS_LostFound_1024x512", "val", labels)
    yield "Lost & Found", spread_over(lost, 24)
    town = town_of(place / "labelmefacade")
    photos = open_towns(place / "labelmefacade", val.source.classes, labels)
    for name in sorted(set(town.values())):
        found = where(photos, lambda image, name=name: town[image] == name)  # type: ignore[misc]
        if len(found) >= LEAST:
            yield name, spread_over(found, MOST)


def scores_of(kb: KnowledgeBase, data: DataSet, scorers: tuple[str, ...], kept: Path) -> dict[str, Scores]:
    """Return the scores of a place by each scorer, from the file ``kept`` where it is there."""
    if not kept.exists():
        arrays: dict[str, np.ndarray] = {}
        for i, sample in enumerate(track(data, kept.stem, len(data))):
            assert sample.target is not None
            step = max(1, round((sample.target.size / GRID) ** 0.5))
            height, width = sample.target.shape
            assessed = kb.assess(kb.forward(sample.image), (height, width), scorers)
            arrays[f"target {i}"] = sample.target[::step, ::step]
            arrays |= {f"{name} {i}": score[::step, ::step] for name, score in assessed.scores.items()}
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(kept, **arrays)  # type: ignore[arg-type]
    with np.load(kept) as arrays_kept:
        targets = [arrays_kept[f"target {i}"] for i in range(len(data))]
        return {name: Scores([arrays_kept[f"{name} {i}"] for i in range(len(data))], targets) for name in scorers}


def calibrated(val: Scores) -> Threshold:
    """Return the threshold at 5 % on ``val``, as `owseg calibrate` finds it."""
    found = threshold_at_fpr((s, t < UNKNOWN) for s, t in zip(val.scores, val.targets, strict=True))
    return replace(found, reference=Reference.of([quantiles(s) for s in val.scores]))


def row(name: str, threshold: Threshold, found: Scores) -> tuple[str, ...]:
    """Return the row of a place."""
    rng, count = np.random.default_rng(0), len(found.scores)
    lost, recall, noticed, estimates = [], [], [], []
    for _ in range(DRAWS if count > IMAGES else 1):
        drawn = found.pick(rng.choice(count, min(IMAGES, count), replace=False).tolist())
        scores = [quantiles(s) for s in drawn.scores]
        new, shift = moved(threshold, scores), find_shift(threshold, scores)
        lost.append(found.share(new.value, False))
        recall.append(found.share(new.value, True))
        noticed.append(shift.significant)
        estimates.append(shift.lost)
    before = (found.share(threshold.value, False), found.share(threshold.value, True))
    span = f" ({min(lost):.3f} to {max(lost):.3f})" if len(lost) > 1 else ""
    both = "–" if np.isnan(before[1]) else f"{before[1]:.3f}, {np.mean(recall):.3f}"
    said = "yes" if all(noticed) else f"{sum(noticed)} of {len(noticed)}" if any(noticed) else "no"
    cells = (f"{before[0]:.3f}", f"{np.mean(estimates):.3f}", f"{np.mean(lost):.3f}{span}")
    return (name, str(count), *cells, both, said)


def false_alarms(threshold: Threshold, val: Scores) -> str:
    """Return of how many draws of eight images the note comes on val: ten draws each of its halves and of all."""
    counts = []
    for numbers in (range(0, len(val.scores), 2), range(len(val.scores))):
        rng = np.random.default_rng(0)
        draws = [val.pick(rng.choice(list(numbers), IMAGES, replace=False).tolist()) for _ in range(10)]
        counts.append(sum(find_shift(threshold, [quantiles(s) for s in d.scores]).significant for d in draws))
    return f"Noticed on CamVid val: {counts[0]} of ten draws from the first half, {counts[1]} of ten from all."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kb", default="street")
    parser.add_argument("--scorers", help="with commas; by default the knowledge base's own")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("OWSEG_DATA", "data")))
    parser.add_argument("--runs", type=Path, default=Path("runs/places"))
    args = parser.parse_args()
    kb = load(args.kb)
    scorers = tuple(args.scorers.split(",")) if args.scorers else (kb.scorer,)
    kept = args.runs / f"{Path(args.kb).name}-{'-'.join(scorers)}-{kb.fingerprint()}"
    named = dict(places(args.data, kb.labels))
    found = {name: scores_of(kb, data, scorers, kept / f"{name}.npz") for name, data in named.items()}
    for scorer in scorers:
        val = found["CamVid val"][scorer]
        threshold = calibrated(val.pick(range(1, len(val.scores), 2)))
        others = ((name, by[scorer]) for name, by in found.items() if name != "CamVid val")
        rows = [row("CamVid val, first half", threshold, val.pick(range(0, len(val.scores), 2)))]
        rows += [row(name, threshold, scores) for name, scores in others]
        header = ("place", "images", "known lost as it is", "estimated", f"after adapting to {IMAGES}",
                  "unknown found as it is, after", "noticed")  # fmt: skip
        markdown(f"{args.kb}, {scorer}: known pixels lost where 5 % were asked", header, rows)
        print(f"\n{false_alarms(threshold, val)}")


if __name__ == "__main__":
    main()
