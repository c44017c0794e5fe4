"""How well a score separates unknown from known pixels: AUROC, AP, FPR95; streamed, mergeable, exact or bounded.

Every accumulator has ``update(score, target)``, ``+`` and ``compute() -> PixelMetrics``. ``target`` is a label map:
UNKNOWN is an outlier, IGNORE is left out, all else is an inlier. Scores are compared as float32; -inf is allowed (a
pixel that is certainly known), NaN is not. Where a figure is undefined (no outlier, or no inlier) it is NaN.

``Exact`` and ``Binned`` also answer thresholds t, for the rule "unknown where score > t":
``threshold_at(recall=r)`` is the highest t at which a share r of the outliers is unknown, ``threshold_at(fpr=a)`` the
lowest at which no more than a share a of the inliers is, ``best_f1_threshold()`` the highest of those with the best
``F1 = 2 TP / (2 TP + FP + FN)`` (how SegmentMeIfYouCan's tool chooses). Shares are compared in whole pixels. A recall
that no t reaches, as outliers are certainly known, gives -inf; what is undefined (no outlier, no inlier) is NaN.
Thresholds that come from the truth of the images measured flatter whatever is measured at them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import TypeAlias

import numpy as np

from owseg.errors import OwsegError
from owseg.labels import IGNORE, UNKNOWN

NAN = float("nan")


Interval: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class PixelMetrics:
    """AUROC, AP (step sum ``sum dR * P``) and FPR95 in [0, 1], and what they were taken over.

    ``bounds`` holds, for binned figures, an interval by name that certainly contains the exact one.
    """

    auroc: float
    ap: float
    fpr95: float
    outliers: int
    inliers: int
    bounds: dict[str, Interval] | None = None

    @property
    def prevalence(self) -> float:
        """The share of outliers: the AP of a score that knows nothing."""
        return self.outliers / (self.outliers + self.inliers) if self.outliers + self.inliers else NAN


@dataclass(frozen=True)
class Curves:
    """Points of the ROC and the precision-recall curve, from the highest threshold to the lowest; (n,) in [0, 1]."""

    fpr: np.ndarray
    tpr: np.ndarray
    precision: np.ndarray


class Exact:
    """All pixels of all images pooled; equal to scikit-learn's to 1e-9.

    Memory: 4 bytes per pixel that counts, twice that while computing. ``operating_point`` of FPR95 is "first": the
    first threshold, from above, with recall >= .95 (Fishyscapes, SMIYC); or "nearest": of all scores, down to the first
    at which every outlier is found, the lowest whose recall is nearest to .95 in float64 (DMLNet's released code).
    """

    def __init__(self, operating_point: str = "first") -> None:
        if operating_point not in ("first", "nearest"):
            raise OwsegError(f"the operating point is 'first' or 'nearest', not {operating_point!r}.")
        self.operating_point = operating_point
        self._outliers: list[np.ndarray] = []
        self._inliers: list[np.ndarray] = []

    def update(self, score: np.ndarray, target: np.ndarray) -> None:
        """Add one image: ``score`` float and ``target`` uint8, of one shape."""
        outliers, inliers = _split(score, target)
        self._outliers.append(outliers)
        self._inliers.append(inliers)

    def __add__(self, other: Exact) -> Exact:
        merged = Exact(self.operating_point)
        merged._outliers = self._outliers + other._outliers
        merged._inliers = self._inliers + other._inliers
        return merged

    def compute(self) -> PixelMetrics:
        """Return the figures over everything added so far."""
        hits, false, above, inliers = self._counts()
        outliers = int(hits[-1]) if len(hits) else 0
        if not outliers or not inliers:
            return PixelMetrics(NAN, NAN, NAN, outliers, inliers)
        steps = np.diff(hits, prepend=0)
        auroc = float((steps * (inliers - 0.5 * (false + above))).sum() / (outliers * inliers))
        ap = float((steps * (hits / (hits + false))).sum() / outliers)
        if self.operating_point == "first":
            wrong = false[np.argmax(20 * hits >= 19 * outliers)]  # in whole pixels, so that .95 is .95
        else:
            lowest = np.append(above[1:], false[-1])  # with this recall: just above the next outlier
            wrong = lowest[::-1][np.argmin(np.abs(hits / outliers - 0.95)[::-1])]
        return PixelMetrics(auroc, ap, float(wrong / inliers), outliers, inliers)

    def curves(self, points: int = 512) -> Curves:
        """Return the ROC and precision-recall curves at up to ``points`` thresholds, evenly spread over the recall."""
        hits, false, _, inliers = self._counts()
        if not len(hits) or not inliers:
            return Curves(*[np.zeros(0)] * 3)
        at = np.unique(np.searchsorted(hits, np.linspace(1, hits[-1], points)))
        return Curves(false[at] / inliers, hits[at] / hits[-1], hits[at] / (hits[at] + false[at]))

    def threshold_at(self, *, recall: float | None = None, fpr: float | None = None) -> float:
        """Return the threshold at a recall in (0, 1] or a false-positive rate in [0, 1); give one of them."""
        share = _one_share(recall, fpr)
        values = _joined(self._outliers if fpr is None else self._inliers)
        if not len(values):
            return NAN
        if fpr is None:
            at = len(values) - ceil(share * len(values))
            return _below(np.partition(values, at)[at])
        at = len(values) - 1 - floor(share * len(values))
        return float(np.partition(values, at)[at])

    def best_f1_threshold(self) -> float:
        """Return the threshold of the best pixel F1."""
        hits, false, _, _ = self._counts()
        if not len(hits):
            return NAN
        distinct = np.unique(_joined(self._outliers))[::-1]
        return _below(distinct[_best_f1(hits, false, distinct > -np.inf)])

    def _counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Return, at each distinct outlier score from above: outliers and inliers at or above it, inliers above it.

        And the number of inliers. Between two outlier scores neither recall nor AP changes, and the false positives
        grow from the one number to the next, so nothing else matters.
        """
        outliers, inliers = _joined(self._outliers), _joined(self._inliers)
        outliers.sort()
        inliers.sort()
        distinct, first = np.unique(outliers, return_index=True)
        below, not_above = (np.searchsorted(inliers, distinct, side) for side in ("left", "right"))
        n = len(inliers)
        return (len(outliers) - first)[::-1], (n - below)[::-1], (n - not_above)[::-1], n


class PerImage:
    """The mean of the images' own figures, over those that show both kinds of pixel (DMLNet, hendrycks/anomaly-seg).

    Memory: three numbers per image.
    """

    def __init__(self, operating_point: str = "nearest") -> None:
        self.operating_point = operating_point
        self._figures: list[PixelMetrics] = []

    def update(self, score: np.ndarray, target: np.ndarray) -> None:
        """Add one image."""
        single = Exact(self.operating_point)
        single.update(score, target)
        self._figures.append(single.compute())

    def __add__(self, other: PerImage) -> PerImage:
        merged = PerImage(self.operating_point)
        merged._figures = self._figures + other._figures
        return merged

    def compute(self) -> PixelMetrics:
        """Return the means, and the pixels of all images."""
        both = [f for f in self._figures if f.outliers and f.inliers]

        def mean(values: Iterable[float]) -> float:
            values = list(values)
            return float(np.mean(values)) if values else NAN

        return PixelMetrics(
            mean(f.auroc for f in both),
            mean(f.ap for f in both),
            mean(f.fpr95 for f in both),
            sum(f.outliers for f in self._figures),
            sum(f.inliers for f in self._figures),
        )


def _split(score: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the outliers' and the inliers' scores, each (n,) float32; refuse NaN and another shape."""
    score = np.asarray(score, np.float32)
    if score.shape != target.shape:
        raise OwsegError(f"a score of {score.shape} does not fit a target of {target.shape}.")
    outliers, inliers = score[target == UNKNOWN], score[(target != UNKNOWN) & (target != IGNORE)]
    if np.isnan(outliers).any() or np.isnan(inliers).any():
        raise OwsegError("the score holds NaN; check the weights and the image.")
    return outliers, inliers


def _one_share(recall: float | None, fpr: float | None) -> Fraction:
    """Return the share that was given, as the decimal fraction it is meant as."""
    given = recall if fpr is None else fpr
    if given is None or (recall is not None and fpr is not None):
        raise OwsegError("a threshold is found at a recall or at a false-positive rate; give one of the two.")
    share = Fraction(given).limit_denominator(10**6)
    if not (0 < share <= 1 if fpr is None else 0 <= share < 1):
        raise OwsegError(f"a recall lies in (0, 1] and a false-positive rate in [0, 1), which {given} does not.")
    return share


def _best_f1(hits: np.ndarray, false: np.ndarray, allowed: np.ndarray) -> int:
    """Return where F1 is best, given the outliers and the inliers above ever lower thresholds; the first of equals.

    Where none is found at any that is allowed, it is the last of all.
    """
    f1 = np.where(allowed, 2 * hits / (hits + false + hits[-1]), 0)
    return int(np.argmax(f1)) if f1.any() else len(f1) - 1


def _below(value: np.float32) -> float:
    """Return the next lower float32: "above it" is "at least ``value``"."""
    with np.errstate(over="ignore"):  # below the lowest finite one is -inf
        return float(np.nextafter(np.float32(value), np.float32(-np.inf)))


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
