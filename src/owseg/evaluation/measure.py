"""All figures of a folder of maps, apart from any model, in two passes and bounded memory.

The first pass fills a histogram of each score and finds the operating points; the second counts at them. Images are
read one at a time, in as many processes as are asked for, and every state can be merged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial, reduce
from math import isnan
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from owseg._files import json_ready
from owseg._progress import track
from owseg.errors import OwsegError
from owseg.evaluation.maps import Folder, Manifest
from owseg.metrics.binned import Binned
from owseg.metrics.components import ANOMALY_TRACK, ComponentFigures, Components, Sizes
from owseg.metrics.false_positives import AchievedFPR, FalsePositives
from owseg.metrics.open_iou import OpenFigures, OpenIoU
from owseg.metrics.pixel import Exact, PixelFigures
from owseg.openset import Threshold

SHARD = 8
"""Images that one process takes at a time."""


WHOLE_OBJECTS = ("best_f1", "calibrated")
"""The operating points at which components are formed."""


State = TypeVar("State", "_Pixels", "_AtPoints")


@dataclass(frozen=True)
class PictureFigures:
    """What one image shows of one score: its own AUROC, AP and FPR95, and its components by operating point.

    ``fpr`` is the share of its known pixels that the calibrated threshold calls unknown, NaN without one.
    """

    image: str
    pixel: PixelFigures
    components: dict[str, ComponentFigures]
    fpr: float


@dataclass(frozen=True)
class ScoreFigures:
    """All that was measured of one score.

    ``pixel`` is pooled, with intervals that certainly hold the exact figures. ``open`` is by operating point: "tpr95",
    "fpr5" and "best_f1", which were found on the very images that are measured, and "calibrated", which was not; a
    point that is not defined is left out. ``components`` has the last two. ``achieved`` is the false-positive rate at
    the calibrated threshold against the one asked for.
    """

    pixel: PixelFigures
    open: dict[str, OpenFigures]
    components: dict[str, ComponentFigures]
    achieved: AchievedFPR | None
    images: tuple[PictureFigures, ...]


@dataclass(frozen=True)
class Figures:
    """All figures of a folder of maps: of the closed map, and by score."""

    manifest: Manifest
    sizes: Sizes
    closed_miou: float
    closed_iou: dict[str, float]
    scores: dict[str, ScoreFigures]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON; what is undefined or infinite is null."""
        value = asdict(self)
        value["manifest"] = self.manifest.to_json()
        value["protocol"] = (
            "pixels pooled, void left out, FPR at the first recall of .95; components as SegmentMeIfYouCan's tool has "
            "them; tpr95, fpr5 and best_f1 are found on the images measured"
        )
        return json_ready(value)


def measure(
    directory: str | Path,
    calibrated: Mapping[str, Threshold] | None = None,
    sizes: Sizes = ANOMALY_TRACK,
    workers: int = 1,
    bits: int = 18,
) -> Figures:
    """Measure every score that the folder of maps holds.

    ``calibrated`` has thresholds by the name of the score; ``sizes`` are the least sizes of components. Memory: one
    image and ``16 * 2^bits`` bytes (4 MiB) a score in each of ``workers`` processes, a few dozen numbers an image
    and score, and ``40 (K + 1) K`` bytes a score. Raises ``OwsegError`` for what is no folder of maps, maps that are
    missing or damaged, and a threshold for a score that it does not hold.
    """
    folder, calibrated = Folder.open(directory), dict(calibrated or {})
    for name in calibrated:
        if name not in folder.manifest.scores:
            has = ", ".join(folder.manifest.scores)
            raise OwsegError(f"{folder.path} holds no score {name!r}, which the threshold is for; it holds {has}.")
    if not folder.manifest.images or not folder.manifest.scores:
        raise OwsegError(f"{folder.path} is for no image or no score; there is nothing to measure.")
    asked = {name: threshold.target_fpr for name, threshold in calibrated.items()}
    with _processes(workers) as over:
        start = {name: _Pixels(bits) for name in folder.manifest.scores}
        first = _each(folder, start, over, "finding thresholds")
        at_points = {
            name: _AtPoints(
                folder.manifest.classes, _points(state.binned, calibrated.get(name)), asked.get(name), sizes
            )
            for name, state in first.items()
        }
        second = _each(folder, at_points, over, "measuring")
    scores = {
        name: ScoreFigures(
            first[name].binned.compute(),
            at.opened.compute(),
            {point: components.compute() for point, components in at.components.items()},
            at.false.compute() if name in asked else None,
            tuple(
                PictureFigures(image, pixel, *rest)
                for image, pixel, rest in zip(folder.manifest.images, first[name].own, at.own, strict=True)
            ),
        )
        for name, at in second.items()
    }
    closed = next(iter(second.values())).opened.closed()
    return Figures(folder.manifest, sizes, closed.mean(), closed.per_class(), scores)


class _Pixels:
    """The first pass over one score: the histogram of all images, and each one's own figures."""

    def __init__(self, bits: int) -> None:
        self.binned, self.own = Binned(bits), list[PixelFigures]()

    def update(self, score: np.ndarray, labels: np.ndarray, target: np.ndarray) -> None:
        single = Exact()
        single.update(score, target)
        self.own.append(single.compute())
        self.binned.update(score, target)

    def __add__(self, other: _Pixels) -> _Pixels:
        merged = _Pixels(self.binned.bits)
        merged.binned, merged.own = self.binned + other.binned, self.own + other.own
        return merged


class _AtPoints:
    """The second pass over one score: what its operating points do, to all images and to each one's components."""

    def __init__(self, classes: Sequence[str], points: Mapping[str, float], asked: float | None, sizes: Sizes) -> None:
        self.points, self.asked, self.sizes = points, asked, sizes
        self.opened = OpenIoU(classes, points)
        self.components = {point: Components(sizes) for point in WHOLE_OBJECTS if point in points}
        self.false = FalsePositives(asked or 0)
        self.own = list[tuple[dict[str, ComponentFigures], float]]()

    def update(self, score: np.ndarray, labels: np.ndarray, target: np.ndarray) -> None:
        self.opened.update(score, labels, target)
        own, false = {}, FalsePositives(self.false.asked)
        for point in self.components:
            called, single = score > np.float32(self.points[point]), Components(self.sizes)
            single.update(called, target)
            self.components[point] += single
            own[point] = single.compute()
            if point == "calibrated":
                false.update(called, target)
        self.false += false
        self.own.append((own, false.compute().pooled))

    def __add__(self, other: _AtPoints) -> _AtPoints:
        merged = _AtPoints(self.opened.names, self.points, self.asked, self.sizes)
        merged.opened, merged.false = self.opened + other.opened, self.false + other.false
        merged.components = {point: state + other.components[point] for point, state in self.components.items()}
        merged.own = self.own + other.own
        return merged


def _points(binned: Binned, calibrated: Threshold | None) -> dict[str, float]:
    """Return the thresholds of the operating points that are defined."""
    points = {
        "tpr95": binned.threshold_at(recall=0.95),
        "fpr5": binned.threshold_at(fpr=0.05),
        "best_f1": binned.best_f1_threshold(),
    }
    if calibrated is not None:
        points["calibrated"] = calibrated.value
    return {name: value for name, value in points.items() if not isnan(value)}


@contextmanager
def _processes(workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """Yield a ``map`` over this process or over several."""
    if workers <= 1:
        yield map
    else:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            yield pool.map


def _each(
    folder: Folder, empty: Mapping[str, State], over: Callable[..., Iterable[Any]], title: str
) -> dict[str, State]:
    """Return the states that ``empty`` ones, by score, have after all images of the folder.

    ``SHARD`` images at a time are read, and the states merged in their order.
    """
    images = folder.manifest.images
    shards = [images[i : i + SHARD] for i in range(0, len(images), SHARD)]
    return reduce(_merged, track(over(partial(_tally, folder, empty), shards), title, len(shards)))


def _tally(folder: Folder, empty: Mapping[str, State], images: Sequence[str]) -> dict[str, State]:
    states = deepcopy(dict(empty))
    for image in images:
        maps = folder.read(image)
        for name, score in maps.scores.items():
            states[name].update(score, maps.labels, maps.target)
    return states


def _merged(one: dict[str, State], other: dict[str, State]) -> dict[str, State]:
    return {name: state + other[name] for name, state in one.items()}
