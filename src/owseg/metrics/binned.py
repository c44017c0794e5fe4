"""AUROC, AP and FPR95 from a histogram of the scores: bounded memory, and intervals that contain the exact metrics."""

from __future__ import annotations

from math import ceil, floor

import numpy as np

from owseg.errors import OwsegError
from owseg.metrics.pixel import NAN, Curves, PixelMetrics, _below, _best_f1, _one_share, _split


class Binned:
    """All pixels pooled, in a histogram: every figure comes with an interval that certainly contains the exact one.

    FPR95 is that of the "first" operating point (see ``Exact``).

    A bin holds the float32 scores that share their leading ``bits`` bits in the order of their size, so no range
    need be known beforehand: with 18 bits, scores of one bin differ by less than 0.2 %. Memory: 16 * 2^bits bytes
    (4 MiB), however many pixels.

    The intervals: moving an inlier of a bin above an outlier of the same bin lowers AUROC and raises FPR, so the two
    extreme orders bound them. For AP, let a, F be the outliers and inliers above the bin and p, n those in it. The
    i-th outlier of the bin has TP >= a + i and FP <= F + n, hence precision >= (a+i) / (a+i+F+n); and TP <= a + p and
    FP >= F, hence precision <= (a+p) / (a+p+F). Summed over outliers these bound AP for any order and any ties; the
    first sum is p - sum_i G / (a+i+G), G = F + n, and ``sum_i 1 / (c+i) <= log(1 + p / (c + 1/2))`` as 1/x is convex.
    """

    def __init__(self, bits: int = 18) -> None:
        if not 10 <= bits <= 26:
            raise OwsegError(f"a histogram has 10 to 26 bits, not {bits}.")
        self.bits = bits
        self._counts = np.zeros((2, 1 << bits), np.int64)

    def update(self, score: np.ndarray, target: np.ndarray) -> None:
        """Add one image."""
        for row, values in enumerate(_split(score, target)):
            bins = np.bincount(_keys(values, self.bits))
            self._counts[row, : len(bins)] += bins

    def __add__(self, other: Binned) -> Binned:
        if self.bits != other.bits:
            raise OwsegError("only histograms of as many bits can be merged.")
        merged = Binned(self.bits)
        merged._counts = self._counts + other._counts
        return merged

    def curves(self, points: int = 512) -> Curves:
        """Return the curves at up to ``points`` edges of bins, evenly spread over the recall: points of the exact ones.

        Empty without an outlier or without an inlier.
        """
        hits, false = np.cumsum(self._counts[:, ::-1], 1)
        if not hits[-1] or not false[-1]:
            return Curves(*[np.zeros(0)] * 3)
        at = np.unique(np.searchsorted(hits, np.linspace(1, hits[-1], points)))
        return Curves(false[at] / false[-1], hits[at] / hits[-1], hits[at] / (hits[at] + false[at]))

    def threshold_at(self, *, recall: float | None = None, fpr: float | None = None) -> float:
        """Return the threshold at a recall in (0, 1] or a false-positive rate in [0, 1); give one of them.

        It is the best among the bins' edges, where what lies above is known exactly: the share asked for is kept.
        """
        share = _one_share(recall, fpr)
        above = np.cumsum(self._counts[0 if fpr is None else 1, ::-1])[::-1]  # in the bin or higher
        total = int(above[0])
        if not total:
            return NAN
        if fpr is None:
            return self._edge(int(np.flatnonzero(above >= ceil(share * total))[-1]))
        return self._edge(int(np.flatnonzero(above > floor(share * total))[-1]) + 1)

    def best_f1_threshold(self) -> float:
        """Return the threshold of the best pixel F1 among the bins' edges."""
        hits, false = np.cumsum(self._counts[:, ::-1], 1)
        if not hits[-1]:
            return NAN
        finite = np.arange(len(hits))[::-1] >= (1 << 23) >> (32 - self.bits)  # -inf has a bin of its own, the lowest
        return self._edge(len(hits) - 1 - _best_f1(hits, false, finite))

    def _edge(self, number: int) -> float:
        """Return the threshold that the scores of bin ``number`` exceed and lower ones do not."""
        ordered = number << (32 - self.bits)
        raw = ordered ^ (1 << 31) if ordered >> 31 else ordered ^ 0xFFFFFFFF
        value = np.uint32(raw).view(np.float32)
        if np.isnan(value):  # beyond the infinities
            return float("inf") if ordered >> 31 else -float("inf")
        return _below(value)

    def compute(self) -> PixelMetrics:
        """Return the figures, each the middle of its interval in ``bounds``."""
        used = self._counts.any(0)
        p, n = self._counts[:, used][:, ::-1]
        outliers, inliers = int(p.sum()), int(n.sum())
        if not outliers or not inliers:
            return PixelMetrics(NAN, NAN, NAN, outliers, inliers)
        a, f = np.cumsum(p) - p, np.cumsum(n) - n
        below = inliers - f - n
        auroc = [float((p * (below + tie * n)).sum() / (outliers * inliers)) for tie in (0, 1)]
        at = int(np.argmax(20 * (a + p) >= 19 * outliers))
        fpr = [float(f[at] / inliers), float((f[at] + n[at]) / inliers)]
        hit = p > 0
        p, n, a, f = (v[hit].astype(np.float64) for v in (p, n, a, f))
        worst = f + n
        low = (p - worst * np.log1p(p / (a + worst + 0.5))).sum() / outliers
        high = (p * (a + p) / (a + p + f)).sum() / outliers
        between = {"auroc": (auroc[0], auroc[1]), "ap": (float(low), float(high)), "fpr95": (fpr[0], fpr[1])}
        middle = {name: (b[0] + b[1]) / 2 for name, b in between.items()}
        rounding = 1e-12  # of the sums here, and of Exact's
        bounds = {name: (max(0.0, b[0] - rounding), min(1.0, b[1] + rounding)) for name, b in between.items()}
        return PixelMetrics(middle["auroc"], middle["ap"], middle["fpr95"], outliers, inliers, bounds)


def _keys(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the leading ``bits`` bits of integers in the order of the float32 ``values``; -0 and 0 are one."""
    raw = (values + np.float32(0)).view(np.uint32)
    ordered = np.where(raw >> 31, ~raw, raw | np.uint32(1 << 31))
    return (ordered >> np.uint32(32 - bits)).astype(np.int64)
