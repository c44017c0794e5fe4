"""AUROC, AP and FPR95 from a histogram of the scores: bounded memory, and intervals that contain the exact metrics."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor, nan
from typing import Any

import numpy as np

from owseg.errors import OwsegError
from owseg.metrics.pixel import (
    Curves,
    PixelMetrics,
    best_f1_index,
    next_below,
    outliers_and_inliers,
    required_share,
)

ROUNDING = 1e-12
"""How far sums in float64, here and in ``Exact``, may be off."""


class Binned:
    """All pixels pooled, in a histogram: every metric comes with an interval that certainly contains the exact one.

    FPR95 is that of the "first" operating point (see ``Exact``).

    A bin holds the float32 scores that share their leading ``bits`` bits in the order of their size, so no range
    need be known beforehand: with 18 bits, scores of one bin differ by less than 0.2 %. Of each bin the smallest and
    the largest outlier and inlier score are kept. Memory: 32 * 2^bits bytes (8 MiB), however many pixels.

    The intervals: of the n inliers in a bin, ``surely`` = n lie at or above all its p outliers if the smallest inlier
    is at least the largest outlier, and ``maybe`` = 0 if the largest inlier is below the smallest outlier; otherwise
    ``surely`` = 0 and ``maybe`` = n. So a bin whose scores all tie, such as that of -inf or of a saturated score, is
    exact, and only where a bin holds several values are metrics uncertain. With a, f the outliers and inliers above the
    bin, FPR95 is from (f + surely) / N to (f + maybe) / N. For AP, the i-th outlier of the bin has TP >= a + i and
    FP <= f + maybe, hence precision >= (a + i) / (a + i + f + maybe); and TP <= a + p and FP >= f + surely, hence
    precision <= (a + p) / (a + p + f + surely). Summed over outliers these bound AP for any order and any ties; the
    first sum is p - sum_i G / (a + i + G), G = f + maybe, and ``sum_i 1 / (c + i) <= log(1 + p / (c + 1/2))`` as 1/x is
    convex.
    """

    def __init__(self, bits: int = 18) -> None:
        if not 10 <= bits <= 26:
            raise OwsegError(f"a histogram has 10 to 26 bits, not {bits}.")
        self.bits = bits
        # One row for outliers and one for inliers.
        # A cell without a score keeps (inf, -inf): compared with any extremes it is certainly apart.
        self._counts = np.zeros((2, 1 << bits), np.int64)
        self._least = np.full((2, 1 << bits), np.inf, np.float32)
        self._greatest = np.full((2, 1 << bits), -np.inf, np.float32)

    def update(self, score: np.ndarray, target: np.ndarray) -> None:
        """Add one image (see ``Exact.update``)."""
        for row, values in enumerate(outliers_and_inliers(score, target)):
            bins = _bins_of(values, self.bits)
            counts = np.bincount(bins)
            self._counts[row, : len(counts)] += counts
            np.minimum.at(self._least[row], bins, values)  # scattered, as many values share a bin
            np.maximum.at(self._greatest[row], bins, values)

    def __add__(self, other: Binned) -> Binned:
        if self.bits != other.bits:
            raise OwsegError("only histograms of as many bits can be merged.")
        merged = Binned(self.bits)
        merged._counts = self._counts + other._counts
        merged._least = np.minimum(self._least, other._least)
        merged._greatest = np.maximum(self._greatest, other._greatest)
        return merged

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the bins that hold a score, as ``from_arrays`` reads them: most are empty."""
        used = np.flatnonzero(self._counts.any(0))
        return {
            "bins": used,
            "counts": self._counts[:, used],
            "least": self._least[:, used],
            "greatest": self._greatest[:, used],
        }

    def __reduce__(self) -> tuple[Any, ...]:  # for another process: most bins are empty
        return _binned, (self.bits, self.to_arrays())

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> Binned:
        """Return the state that ``to_arrays`` wrote, of as many bits as this."""
        read, used = Binned(self.bits), arrays["bins"]
        read._counts[:, used], read._least[:, used] = arrays["counts"], arrays["least"]
        read._greatest[:, used] = arrays["greatest"]
        return read

    def curves(self, points: int = 512) -> Curves:
        """Return the curves at up to ``points`` edges of bins, evenly spread over the recall: points of the exact ones.

        Empty without an outlier or without an inlier.
        """
        tp, fp = np.cumsum(self._counts[:, ::-1], 1)
        if not tp[-1] or not fp[-1]:
            return Curves(*[np.zeros(0)] * 3)
        # Evenly over the recall: over the thresholds most points would fall where nothing changes.
        at = np.unique(np.searchsorted(tp, np.linspace(1, tp[-1], points)))
        return Curves(fp[at] / fp[-1], tp[at] / tp[-1], tp[at] / (tp[at] + fp[at]))

    def threshold_at(self, *, recall: float | None = None, fpr: float | None = None) -> float:
        """Return the threshold at a recall in (0, 1] or a false-positive rate in [0, 1); give one of them.

        It is the best among the bins' edges, where what lies above is known exactly, so the share asked for is kept.
        """
        share = required_share(recall, fpr)
        above = np.cumsum(self._counts[0 if fpr is None else 1, ::-1])[::-1]  # in the bin or higher
        total = int(above[0])
        if not total:
            return nan
        if fpr is None:
            # The highest edge that still leaves enough outliers above it.
            return self._edge(int(np.flatnonzero(above >= ceil(share * total))[-1]))
        # One bin above the highest edge with too many inliers above it.
        return self._edge(int(np.flatnonzero(above > floor(share * total))[-1]) + 1)

    def best_f1_threshold(self) -> float:
        """Return the threshold of the best pixel F1 among the bins' edges."""
        tp, fp = np.cumsum(self._counts[:, ::-1], 1)
        if not tp[-1]:
            return nan
        finite = np.arange(len(tp))[::-1] >= (1 << 23) >> (32 - self.bits)  # -inf has a bin of its own, the lowest
        return self._edge(len(tp) - 1 - best_f1_index(tp, fp, finite))

    def _edge(self, number: int) -> float:
        """Return the threshold that the scores of bin ``number`` exceed and lower ones do not."""
        # The inverse of _bins_of.
        ordered = number << (32 - self.bits)
        raw = ordered ^ (1 << 31) if ordered >> 31 else ordered ^ 0xFFFFFFFF
        value = np.uint32(raw).view(np.float32)
        if np.isnan(value):  # beyond the infinities
            return float("inf") if ordered >> 31 else -float("inf")
        return next_below(value)

    def compute(self) -> PixelMetrics:
        """Return the metrics, each the middle of its interval in ``bounds``."""
        # Most bins are empty: from here on arrays hold the used ones alone, from the highest score down.
        used = self._counts.any(0)
        p, n = self._counts[:, used][:, ::-1]
        outliers, inliers = int(p.sum()), int(n.sum())
        if not outliers or not inliers:
            return PixelMetrics(nan, nan, nan, outliers, inliers)
        least, greatest = self._least[:, used][:, ::-1], self._greatest[:, used][:, ::-1]
        surely, maybe = np.where(least[1] >= greatest[0], n, 0), np.where(greatest[1] < least[0], 0, n)
        a, f = np.cumsum(p) - p, np.cumsum(n) - n  # outliers and inliers above the bin
        between = {
            "auroc": _auroc(p, n, inliers - f - n, least, greatest),
            "ap": _ap(p, a, f + surely, f + maybe, least[0] == greatest[0]),
            "fpr95": _fpr95(p, a, f + surely, f + maybe, inliers),
        }
        middle = {name: (low + high) / 2 for name, (low, high) in between.items()}
        bounds = {name: (max(0.0, b[0] - ROUNDING), min(1.0, b[1] + ROUNDING)) for name, b in between.items()}
        return PixelMetrics(middle["auroc"], middle["ap"], middle["fpr95"], outliers, inliers, bounds)


def _binned(bits: int, arrays: Mapping[str, np.ndarray]) -> Binned:
    return Binned(bits).from_arrays(arrays)


# In what follows all arrays are (m,), one entry for each bin that holds a score, from the highest score down: p and n
# are the outliers and inliers in the bin, a the outliers above it, fp_low and fp_high bound the false positives.


def _auroc(
    p: np.ndarray, n: np.ndarray, below: np.ndarray, least: np.ndarray, greatest: np.ndarray
) -> tuple[float, float]:
    """Return the bounds of AUROC: an outlier beats the inliers below it, and half of those that it ties with."""
    # All n inliers of the bin are beaten if the largest is below the smallest outlier, none if the smallest is above.
    low = np.where(greatest[1] < least[0], n, 0.0)
    high = np.where(least[1] > greatest[0], 0.0, n)
    # The least and the greatest of both rows are one number: all scores of the bin are equal.
    tie = (np.minimum(*least) == np.maximum(*greatest)) & (p > 0)
    total = int(p.sum()) * int(n.sum())
    lowest, highest = (float((p * (below + np.where(tie, n / 2, own))).sum() / total) for own in (low, high))
    return lowest, highest


def _ap(p: np.ndarray, a: np.ndarray, fp_low: np.ndarray, fp_high: np.ndarray, tied: np.ndarray) -> tuple[float, float]:
    """Return the bounds of AP; ``tied`` says where all outliers of a bin have one score, and so one precision."""
    some = p > 0
    tied = tied[some]
    p, a, fp_low, fp_high = (v[some].astype(np.float64) for v in (p, a, fp_low, fp_high))
    # The bound of the class's docstring, with c = a + G and sum_i G / (c + i) <= G log(1 + p / (c + 1/2)).
    apart = p - fp_high * np.log1p(p / (a + fp_high + 0.5))
    # With one score, all outliers have the precision at the end of the bin.
    low = np.where(tied, p * (a + p) / (a + p + fp_high), apart)
    high = p * (a + p) / (a + p + fp_low)
    return float(low.sum() / p.sum()), float(high.sum() / p.sum())


def _fpr95(p: np.ndarray, a: np.ndarray, fp_low: np.ndarray, fp_high: np.ndarray, inliers: int) -> tuple[float, float]:
    """Return the bounds of the false-positive rate at the first threshold, from above, with recall >= .95."""
    at = int(np.argmax(20 * (a + p) >= 19 * int(p.sum())))  # in whole pixels, so that .95 is .95
    return float(fp_low[at] / inliers), float(fp_high[at] / inliers)


def _bins_of(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the bins of float32 ``values``: the leading bits of integers in the same order; -0 and 0 are one."""
    # The bits of positive floats are in the order of their values, those of negative ones in reverse: flip all bits
    # of the latter, and set the sign bit of the former to put them above.
    raw = (values + np.float32(0)).view(np.uint32)
    ordered = np.where(raw >> 31, ~raw, raw | np.uint32(1 << 31))
    bins: np.ndarray = ordered >> np.uint32(32 - bits)
    return bins.astype(np.int64)
