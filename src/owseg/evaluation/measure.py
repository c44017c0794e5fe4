"""All metrics of a folder of maps, independent of any model, in two passes and bounded memory.

The first pass fills a histogram of each score, which gives the operating points; the second counts at them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from owseg._files import json_ready
from owseg.errors import OwsegError
from owseg.evaluation.histograms import BITS, ScoreHistogram, score_histograms
from owseg.evaluation.maps import Manifest, MapFolder
from owseg.evaluation.passes import Points, one_pass
from owseg.metrics.binned import Binned
from owseg.metrics.components import ANOMALY_TRACK, ComponentMetrics, Components, Sizes
from owseg.metrics.false_positives import AchievedFPR, FalsePositives
from owseg.metrics.open_iou import OpenIoU, OpenMetrics
from owseg.metrics.pixel import PixelMetrics
from owseg.openset import Threshold

COMPONENT_POINTS = ("best_f1", "calibrated")
"""The operating points at which components are formed."""

PROTOCOL = (
    "pixels pooled, void ignored, FPR at the first recall of .95; components as SegmentMeIfYouCan's tool forms "
    "them; the thresholds tpr95, fpr5 and best_f1 are found on the images measured"
)


@dataclass(frozen=True)
class ImageMetrics:
    """The metrics of one score on one image: its own AUROC, AP and FPR95, and its components by operating point.

    ``fpr`` is the share of its known pixels above the calibrated threshold, in [0, 1]; NaN without one.
    """

    image: str
    pixel: PixelMetrics
    components: dict[str, ComponentMetrics] = field(hash=False)
    fpr: float


@dataclass(frozen=True)
class ScoreMetrics:
    """The metrics of one score.

    ``pixel`` is pooled, with intervals that certainly contain the exact values. ``open`` is by operating point:
    "tpr95", "fpr5" and "best_f1", whose thresholds are found on the images measured and therefore optimistic, and
    "calibrated", whose threshold is not; a point that is not defined is left out. ``components`` has the last two.
    ``achieved`` compares the false-positive rate at the calibrated threshold with the one asked for.
    """

    pixel: PixelMetrics
    open: dict[str, OpenMetrics] = field(hash=False)
    components: dict[str, ComponentMetrics] = field(hash=False)
    achieved: AchievedFPR | None
    images: tuple[ImageMetrics, ...] = field(repr=False)


@dataclass(frozen=True, eq=False)
class MapMetrics:
    """All metrics of a folder of maps: IoU of the closed map, and the rest by the name of the score.

    ``histograms``, by the name of the score, are what the first pass read; plots are made from them.
    """

    manifest: Manifest
    sizes: Sizes
    closed_miou: float
    closed_iou: dict[str, float]
    scores: dict[str, ScoreMetrics]
    histograms: Mapping[str, ScoreHistogram]

    def to_json(self) -> dict[str, Any]:
        """Return everything but the histograms as plain JSON; what is undefined or infinite is null."""
        fields = asdict(replace(self, histograms={}))  # which are megabytes that asdict would copy
        del fields["histograms"]
        value: dict[str, Any] = json_ready({**fields, "protocol": PROTOCOL})
        return value

    def __repr__(self) -> str:
        images = f"{len(self.manifest.images)} images of {self.manifest.name}"
        return f"MapMetrics({images}: {', '.join(f'{n} AP {s.pixel.ap:.3f}' for n, s in self.scores.items())})"


def measure(
    directory: str | Path,
    calibrated: Mapping[str, Threshold] | None = None,
    sizes: Sizes = ANOMALY_TRACK,
    workers: int = 1,
    bits: int = BITS,
    points: Callable[[str], Points] | None = None,
) -> MapMetrics:
    """Compute the metrics of every score that a folder of maps holds.

    ``calibrated`` has thresholds by the name of the score; ``sizes`` are the minimum sizes of components; ``workers``
    processes read the images. ``bits`` and ``points`` are those of ``score_histograms``, the first pass. Memory: one
    image and ``32 * 2^bits`` bytes (8 MiB) a score in each process, a few dozen numbers an image and score, and
    ``40 (K + 1) K`` bytes a score. Raises ``OwsegError`` for any other folder, maps that are missing or damaged, and a
    threshold for a score that it does not hold.
    """
    folder, calibrated = MapFolder.open(directory), dict(calibrated or {})
    for name in calibrated:  # before hours of reading
        if name not in folder.manifest.scores:
            has = ", ".join(folder.manifest.scores)
            raise OwsegError(f"{folder.path} holds no score {name!r}, which the threshold is for; it holds {has}.")
    if not folder.manifest.images or not folder.manifest.scores:
        raise OwsegError(f"{folder.path} is for no image or no score; there is nothing to measure.")
    # The thresholds of the second pass come from the first, over all images, so one pass would not do.
    first = score_histograms(folder, workers, bits, points)
    start = {
        name: _OperatingPoints(
            folder.manifest.classes,
            _thresholds(histogram.binned, calibrated.get(name)),
            calibrated[name].target_fpr if name in calibrated else None,
            sizes,
        )
        for name, histogram in first.items()
    }
    second = one_pass(folder, start, "metrics", workers)
    scores = {
        name: ScoreMetrics(
            first[name].binned.compute(),
            at.opened.compute(),
            {point: components.compute() for point, components in at.components.items()},
            at.false.compute() if name in calibrated else None,
            tuple(
                ImageMetrics(image, pixel, *rest)
                for image, pixel, rest in zip(folder.manifest.images, first[name].images, at.images, strict=True)
            ),
        )
        for name, at in second.items()
    }
    closed = next(iter(second.values())).opened.closed()  # the same for every score
    return MapMetrics(folder.manifest, sizes, closed.mean(), closed.per_class(), scores, first)


class _OperatingPoints:
    """The second pass over one score: what its thresholds do to all images and to the components of each."""

    def __init__(
        self, classes: Sequence[str], thresholds: Mapping[str, float], asked: float | None, sizes: Sizes
    ) -> None:
        self.thresholds, self.asked, self.sizes = thresholds, asked, sizes
        self.opened = OpenIoU(classes, thresholds)
        self.components = {point: Components(sizes) for point in COMPONENT_POINTS if point in thresholds}
        self.false = FalsePositives(asked or 0)
        self.images = list[tuple[dict[str, ComponentMetrics], float]]()

    def update(self, score: np.ndarray, labels: np.ndarray, target: np.ndarray, points: Points) -> None:
        self.opened.update(score, labels, target)
        own, false = {}, FalsePositives(self.false.asked)
        for point in self.components:
            predicted, single = score > np.float32(self.thresholds[point]), Components(self.sizes)
            single.update(predicted, target)  # matched once, then added to the sum over all images
            self.components[point] += single
            own[point] = single.compute()
            if point == "calibrated":
                false.update(predicted, target)  # the other points are not meant to keep a rate
        self.false += false
        self.images.append((own, false.compute().pooled))

    def __iadd__(self, other: _OperatingPoints) -> _OperatingPoints:
        self.opened += other.opened
        self.false += other.false
        for point, state in other.components.items():
            self.components[point] += state
        self.images += other.images
        return self


def _thresholds(binned: Binned, calibrated: Threshold | None) -> dict[str, float]:
    """Return the thresholds of the operating points that are defined."""
    found = {
        "tpr95": binned.threshold_at(recall=0.95),
        "fpr5": binned.threshold_at(fpr=0.05),
        "best_f1": binned.best_f1_threshold(),
    }
    if calibrated is not None:
        found["calibrated"] = calibrated.value
    return {name: value for name, value in found.items() if not isnan(value)}  # NaN: no outlier, or no inlier
