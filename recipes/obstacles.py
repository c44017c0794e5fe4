"""The task "obstacles": what a score on the road gains, and what it finds on Lost & Found.

    export OWSEG_DATA=DIR             # DIR/camvid, outlier_objects, labelmefacade, anomaly
    python -m recipes.obstacles       # of street; ten minutes or more

Two sets to choose by, which no table of results reports: CamVid's val and street photos of other towns (those of
``recipes.towns`` that no training sees), with objects that no training shows put on the road, as large as perspective
makes things of 10 to 70 cm. Lost & Found's val is read to report. Pixels of the whole image count, as in Fishyscapes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from owseg._progress import track
from owseg.data.dataset import DataSet, spread_over
from owseg.data.datasets import open_dataset
from owseg.data.outliers import Outlier, Outliers
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.labels import IGNORE, UNKNOWN
from owseg.metrics.pixel import Exact
from owseg.models.ops import closed_map_at, resize
from owseg.scorers.contrast import AROUND
from owseg.scorers.road import AMOUNT, LIMIT, SPREAD, distance, hull
from owseg.training.pasting import set_aside
from owseg.types import Sample
from recipes.held_out import objects_of, place_of_data
from recipes.tables import markdown
from recipes.towns import open_towns

HEIGHTS, CAMERA = (0.1, 0.7), 1.3
"""The heights of obstacles and of the camera above the road, in metres."""

COUNT, LEAST = 3, 6
"""Obstacles an image, and the fewest pixels of a side of one."""


def on_road(sample: Sample, objects: Outliers, road: int, rng: np.random.Generator) -> Sample | None:
    """Return ``sample`` with ``COUNT`` objects on its road, of perspective's size; None where it shows hardly any.

    On a flat road a thing of height h, seen by a camera at height c, is (h / c) times as tall as its foot lies below
    the horizon, for which the uppermost road in the image is taken.
    """
    assert sample.target is not None
    rows, columns = np.nonzero(sample.target == road)
    if len(rows) < 0.03 * sample.target.size:
        return None
    image, target, put = sample.image.copy(), sample.target.copy(), 0
    horizon = np.quantile(rows, 0.01)
    for _ in range(5 * COUNT):
        foot = int(rng.integers(len(rows)))
        tall = float(np.exp(rng.uniform(*np.log(HEIGHTS)))) / CAMERA * (rows[foot] - horizon)
        cut, mask = resized(objects.read(int(rng.integers(len(objects)))), tall)
        height, width = mask.shape
        top, left = int(rows[foot]) - height + 1, int(columns[foot]) - width // 2
        fits = min(top, left) >= 0 and left + width <= target.shape[1] and width < target.shape[1] / 3
        if fits and min(height, width) >= LEAST:
            place = np.s_[top : top + height, left : left + width]
            image[:, place[0], place[1]] = np.where(mask, cut, image[:, place[0], place[1]])
            target[place][mask] = UNKNOWN
            put += 1
        if put == COUNT:
            break
    return replace(sample, image=image, target=target) if put else None


def resized(outlier: Outlier, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the image (3, h, w) and the mask (h, w) of an object, resized to a height in pixels."""
    rows, columns = np.nonzero(outlier.mask.any(1))[0], np.nonzero(outlier.mask.any(0))[0]
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    mask = outlier.mask[box]
    size = max(1, round(mask.shape[1] * height / mask.shape[0])), max(1, round(height))
    cut = Image.fromarray(np.ascontiguousarray(outlier.image[:, box[0], box[1]].transpose(1, 2, 0))).resize(size)
    small = Image.fromarray(mask.astype(np.uint8) * 255).resize(size)
    return np.asarray(cut).transpose(2, 0, 1), np.asarray(small) > 127


def rows_and_columns(road: np.ndarray) -> np.ndarray:
    """Return the pixels (h, w) that have road on both sides in their row, and above and below in their column."""
    pieces, count = ndimage.label(road)
    if not count:
        return np.zeros_like(road)
    largest = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
    between = [
        np.maximum.accumulate(largest, axis) & np.flip(np.maximum.accumulate(np.flip(largest, axis), axis), axis)
        for axis in (0, 1)
    ]
    return between[0] & between[1]


def lowered(
    score: np.ndarray, road: np.ndarray, shape: Callable[[np.ndarray], np.ndarray], spread: float
) -> np.ndarray:
    """Return ``score`` as ``OnRoad`` lowers it, by another ``shape`` of the road and another ``spread``."""
    away = distance(shape(road))
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.minimum(1, np.where(away > 0, away / spread, 0))
    return score - LIMIT * score.std() * far


def sharper(score: np.ndarray, road: np.ndarray, amount: float = AMOUNT, side: float = AROUND) -> np.ndarray:
    """Return the score lowered away from the hull of the road, and sharpened as ``OnRoad`` does, or otherwise."""
    low = lowered(score, road, hull, SPREAD)
    around = ndimage.uniform_filter(low, 2 * round(side * min(low.shape) / 2) + 1, mode="nearest")
    return low + amount * (low - around)


FORMS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "anywhere": lambda score, road: score,
    "hull, at once": partial(lowered, shape=hull, spread=0.0),
    "rows and columns": partial(lowered, shape=rows_and_columns, spread=SPREAD),
    "road, without hull": partial(lowered, shape=lambda road: road, spread=SPREAD),
    "hull": partial(lowered, shape=hull, spread=SPREAD),
    **{f"hull, sharpened by {amount:.2f}": partial(sharper, amount=amount) for amount in (0.2, AMOUNT, 0.8)},
    **{f"hull, sharpened, squares of {side:g}": partial(sharper, side=side) for side in (0.05, 0.14, 0.2)},
}
"""What the score on the road was chosen over; sharpened by ``AMOUNT`` it is ``OnRoad``."""


def with_obstacles(data: DataSet, objects: Outliers) -> Iterator[Sample]:
    """Yield the images of ``data`` with obstacles on their road; what else is unknown in them is void."""
    road = data.labels.names.index("road")
    for i, sample in enumerate(data):
        known = replace(sample, target=np.where(sample.target == UNKNOWN, IGNORE, sample.target))
        if (made := on_road(known, objects, road, np.random.default_rng([11, i]))) is not None:
            yield made


def sets_of(place: Path, kb: KnowledgeBase, most: int) -> Iterator[tuple[str, int, Iterator[Sample]]]:
    """Yield the name of each set, at most how many images it has here, and these."""
    every = open_dataset(f"camvid:{place}", "val", kb.labels)
    towns = open_towns(place.parent / "labelmefacade", every.source.classes, kb.labels)
    _, objects = set_aside(objects_of(place, kb.labels))
    yield "val, obstacles", most, with_obstacles(spread_over(every, most), objects)
    yield "other towns, obstacles", most, with_obstacles(spread_over(towns, most), objects)
    lost = open_dataset(f"fishyscapes-lostfound:{place.parent}/anomaly/FS_LostFound_1024x512", "val", kb.labels)
    yield "Lost & Found", 2 * most, iter(spread_over(lost, 2 * most))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kb", nargs="?", default="street")
    parser.add_argument("--data", type=Path, default=place_of_data(), help="CamVid, SegNet layout")
    parser.add_argument(
        "--most", type=int, default=50, help="so many images of each set to choose by, twice as many else"
    )
    parser.add_argument("--size", type=int, help="the shorter side at which the network is run")
    args = parser.parse_args()
    kb, columns = load(args.kb), {}
    road = kb.labels.names.index("road")
    for name, count, samples in sets_of(args.data, kb, args.most):
        states = {form: Exact() for form in FORMS}
        for sample in track(samples, name, count):
            assert sample.target is not None
            output = kb.forward(sample.image, size=args.size)
            score = kb.scorers[kb.scorer](output)
            size = (score.shape[-2], score.shape[-1])
            roads = closed_map_at(output.logits.float(), size)[0].numpy() == road
            for form, state in states.items():
                found = torch.from_numpy(np.asarray(FORMS[form](score[0].numpy(), roads), np.float32))[None, None]
                state.update(resize(found, sample.target.shape)[0, 0].numpy(), sample.target)
        columns[name] = [state.compute() for state in states.values()]
    rows = [
        (form, *(f"{m.ap:.3f} / {m.fpr95:.3f}" for m in found))
        for form, *found in zip(FORMS, *columns.values(), strict=True)
    ]
    title = f"On the road, {args.kb}, {kb.scorer}" + (f" at {args.size} pixels" if args.size else "")
    markdown(f"{title}: AP / FPR95", ("form", *columns), rows)


if __name__ == "__main__":
    main()
