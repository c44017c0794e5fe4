"""How well a score separates unknown from known pixels: AUROC, AP and FPR95, updated image by image and mergeable.

Every accumulator has ``update(score, target)``, ``+`` and ``compute() -> PixelMetrics``. ``target`` is a label map:
UNKNOWN is an outlier, IGNORE is left out, all else is an inlier. Scores are compared as float32; -inf is allowed (a
pixel that is certainly known), NaN is not. A metric that is undefined (no outlier, or no inlier) is NaN.

``Exact`` and ``Binned`` also find thresholds t, for the rule "unknown where score > t":
``threshold_at(recall=r)`` is the highest t at which a share r of the outliers is unknown, ``threshold_at(fpr=a)`` the
lowest at which no more than a share a of the inliers is, ``best_f1_threshold()`` the highest of those with the best
``F1 = 2 TP / (2 TP + FP + FN)`` (how SegmentMeIfYouCan's tool chooses). Shares are compared in whole pixels. A recall
that no t reaches, because outliers score -inf, gives -inf; what is undefined (no outlier, no inlier) is NaN.
A threshold found on the ground truth of the evaluated images makes every metric at it optimistic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor, nan
from typing import TypeAlias

import numpy as np

from owseg.errors import OwsegError
from owseg.labels import IGNORE, UNKNOWN

Interval: TypeAlias = tuple[float, float]

PRECISION = 1e-3
"""The widest interval that is printed as one number, with three decimals."""


@dataclass(frozen=True)
class PixelMetrics:
    """AUROC, AP (step sum ``sum dR * P``) and FPR95 in [0, 1], and the numbers of pixels they were computed from.

    ``bounds`` has, for the metrics of ``Binned``, an interval by name that certainly contains the exact value; the
    metric itself is the middle of it.
    """

    auroc: float
    ap: float
    fpr95: float
    outliers: int
    inliers: int
    bounds: dict[str, Interval] | None = field(default=None, hash=False)

    @property
    def prevalence(self) -> float:
        """The share of outliers: the AP of a random score."""
        return self.outliers / (self.outliers + self.inliers) if self.outliers + self.inliers else nan

    def text(self, name: str) -> str:
        """Return "auroc", "ap" or "fpr95" with three decimals, "low to high" where that is all that is known.

        An interval of ``bounds`` no wider than ``PRECISION`` is one number; what is undefined is a dash.
        """
        value: float = getattr(self, name)
        low, high = (self.bounds or {}).get(name, (value, value))
        if value != value:
            return "–"
        return f"{value:.3f}" if high - low <= PRECISION else f"{low:.3f} to {high:.3f}"


@dataclass(frozen=True, eq=False)
class Curves:
    """Points of the ROC and the precision-recall curve, from the highest threshold to the lowest; (n,) in [0, 1]."""

    fpr: np.ndarray = field(repr=False)
    tpr: np.ndarray = field(repr=False)
    precision: np.ndarray = field(repr=False)


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
        """Add one image: ``score`` (H, W) float, ``target`` (H, W) uint8.

        Raises ``OwsegError`` where the sizes differ and where the score of a pixel that counts is NaN.
        """
        outliers, inliers = outliers_and_inliers(score, target)
        self._outliers.append(outliers)
        self._inliers.append(inliers)

    def __add__(self, other: Exact) -> Exact:
        if self.operating_point != other.operating_point:
            raise OwsegError("only metrics of the same operating point can be merged.")
        merged = Exact(self.operating_point)
        merged._outliers = self._outliers + other._outliers
        merged._inliers = self._inliers + other._inliers
        return merged

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return everything added so far, as ``from_arrays`` reads it."""
        return {"outliers": _joined(self._outliers), "inliers": _joined(self._inliers)}

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> Exact:
        """Return the state that ``to_arrays`` wrote, of the same kind as this."""
        read = Exact(self.operating_point)
        read._outliers, read._inliers = [arrays["outliers"]], [arrays["inliers"]]
        return read

    def compute(self) -> PixelMetrics:
        """Return the metrics of everything added so far."""
        tp, fp, above, inliers = self._counts()
        outliers = int(tp[-1]) if len(tp) else 0
        if not outliers or not inliers:
            return PixelMetrics(nan, nan, nan, outliers, inliers)
        # How many outliers have each distinct score.
        steps = np.diff(tp, prepend=0)
        # Mann-Whitney: an outlier beats the n - fp inliers below it and half of the fp - above that it ties with.
        auroc = float((steps * (inliers - 0.5 * (fp + above))).sum() / (outliers * inliers))
        # All outliers of one score enter together: the step sum, not the trapezoid, which is too optimistic.
        ap = float((steps * (tp / (tp + fp))).sum() / outliers)
        if self.operating_point == "first":
            fp_at_95 = fp[np.argmax(20 * tp >= 19 * outliers)]  # in whole pixels, so that .95 is .95
        else:
            lowest = np.append(above[1:], fp[-1])  # with this recall: just above the next outlier
            fp_at_95 = lowest[::-1][np.argmin(np.abs(tp / outliers - 0.95)[::-1])]
        return PixelMetrics(auroc, ap, float(fp_at_95 / inliers), outliers, inliers)

    def curves(self, points: int = 512) -> Curves:
        """Return the ROC and precision-recall curves at up to ``points`` thresholds, evenly spread over the recall."""
        tp, fp, _, inliers = self._counts()
        if not len(tp) or not inliers:
            return Curves(*[np.zeros(0)] * 3)
        at = np.unique(np.searchsorted(tp, np.linspace(1, tp[-1], points)))
        return Curves(fp[at] / inliers, tp[at] / tp[-1], tp[at] / (tp[at] + fp[at]))

    def threshold_at(self, *, recall: float | None = None, fpr: float | None = None) -> float:
        """Return the threshold at a recall in (0, 1] or a false-positive rate in [0, 1); give one of them."""
        share = required_share(recall, fpr)
        values = _joined(self._outliers if fpr is None else self._inliers)
        if not len(values):
            return nan
        if fpr is None:
            # The lowest of the outliers that must be found.
            at = len(values) - ceil(share * len(values))
            # Selection is linear in the pixels, sorting is not.
            return next_below(np.partition(values, at)[at])
        # The highest inlier that must stay known; score > threshold leaves it and its ties out.
        at = len(values) - 1 - floor(share * len(values))
        return float(np.partition(values, at)[at])

    def best_f1_threshold(self) -> float:
        """Return the threshold of the best pixel F1."""
        tp, fp, _, _ = self._counts()
        if not len(tp):
            return nan
        distinct = np.unique(_joined(self._outliers))[::-1]
        return next_below(distinct[best_f1_index(tp, fp, distinct > -np.inf)])

    def _counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Return (tp, fp, above, number of inliers); the first three have one entry for each distinct outlier score.

        From the highest score down: ``tp`` and ``fp`` count the outliers and inliers at or above it, ``above`` the
        inliers above it. Between two outlier scores recall and AP are constant and the false positives grow from one
        count to the next, so no other threshold matters.
        """
        outliers, inliers = _joined(self._outliers), _joined(self._inliers)
        # In place: _joined returns a new array.
        outliers.sort()
        inliers.sort()
        distinct, first = np.unique(outliers, return_index=True)
        below, not_above = (np.searchsorted(inliers, distinct, side) for side in ("left", "right"))
        n = len(inliers)
        return (len(outliers) - first)[::-1], (n - below)[::-1], (n - not_above)[::-1], n


class PerImage:
    """The mean of each image's own metrics, over images with both kinds of pixel (DMLNet, hendrycks/anomaly-seg).

    Memory: five numbers per image.
    """

    def __init__(self, operating_point: str = "nearest") -> None:
        self.operating_point = operating_point
        self._images: list[PixelMetrics] = []

    def update(self, score: np.ndarray, target: np.ndarray) -> None:
        """Add one image (see ``Exact.update``)."""
        # Void is left out here, too; the released code counts it as inlier.
        single = Exact(self.operating_point)
        single.update(score, target)
        self._images.append(single.compute())

    def __add__(self, other: PerImage) -> PerImage:
        merged = PerImage(self.operating_point)
        merged._images = [*self._images]
        merged += other
        return merged

    def __iadd__(self, other: PerImage) -> PerImage:  # in place, as a million images are merged a few at a time
        if self.operating_point != other.operating_point:
            raise OwsegError("only metrics of the same operating point can be merged.")
        self._images.extend(other._images)
        return self

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the metrics of each image, as ``from_arrays`` reads them."""
        rows = [(m.auroc, m.ap, m.fpr95, m.outliers, m.inliers) for m in self._images]
        return {"images": np.array(rows, np.float64).reshape(-1, 5)}

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> PerImage:
        """Return the state that ``to_arrays`` wrote, of the same kind as this."""
        read = PerImage(self.operating_point)
        rows = arrays["images"].tolist()
        read._images = [PixelMetrics(a, ap, fpr, int(outliers), int(inliers)) for a, ap, fpr, outliers, inliers in rows]
        return read

    def compute(self) -> PixelMetrics:
        """Return the means, and the pixels of all images."""
        # hendrycks/anomaly-seg skips the other images; their pixels are counted all the same.
        both = [m for m in self._images if m.outliers and m.inliers]

        def mean(values: Iterable[float]) -> float:
            values = list(values)
            return float(np.mean(values)) if values else nan

        return PixelMetrics(
            mean(m.auroc for m in both),
            mean(m.ap for m in both),
            mean(m.fpr95 for m in both),
            sum(m.outliers for m in self._images),
            sum(m.inliers for m in self._images),
        )


def outliers_and_inliers(score: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of outliers and of inliers, each (n,) float32; raise ``OwsegError`` for NaN or another size."""
    score = np.asarray(score, np.float32)
    if score.shape != target.shape:
        raise OwsegError(f"a score of {score.shape} does not fit a target of {target.shape}.")
    outliers, inliers = score[target == UNKNOWN], score[(target != UNKNOWN) & (target != IGNORE)]
    if np.isnan(outliers).any() or np.isnan(inliers).any():
        raise OwsegError("the score holds NaN; check the weights and the image.")
    return outliers, inliers


def required_share(recall: float | None, fpr: float | None) -> Fraction:
    """Return the share that was given, as the decimal fraction that the float stands for (.05 is 1/20)."""
    given = recall if fpr is None else fpr
    if given is None or (recall is not None and fpr is not None):
        raise OwsegError("a threshold is found at a recall or at a false-positive rate; give one of the two.")
    # The float .55 is slightly more than 11/20, so that a recall of .55 would ask for 56 of 100 outliers.
    share = Fraction(given).limit_denominator(10**6)
    if not (0 < share <= 1 if fpr is None else 0 <= share < 1):
        raise OwsegError(f"a recall lies in (0, 1] and a false-positive rate in [0, 1), which {given} does not.")
    return share


def best_f1_index(tp: np.ndarray, fp: np.ndarray, allowed: np.ndarray) -> int:
    """Return the index of the best F1, the first of equals; ``tp`` and ``fp`` (n,) are counts at falling thresholds.

    ``allowed`` (n,) bool says which thresholds may be chosen; it is the last where none of these has a true positive.
    """
    # F1 = 2 TP / (2 TP + FP + FN), where TP + FN are all outliers, tp[-1].
    f1 = np.where(allowed, 2 * tp / (tp + fp + tp[-1]), 0)
    return int(np.argmax(f1)) if f1.any() else len(f1) - 1


def next_below(value: np.float32) -> float:
    """Return the next lower float32, so that "score > threshold" is "score >= ``value``"."""
    with np.errstate(over="ignore"):  # below the lowest finite one is -inf
        return float(np.nextafter(np.float32(value), np.float32(-np.inf)))


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
