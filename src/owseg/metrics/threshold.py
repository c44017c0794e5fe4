"""The threshold at a false-positive rate: exact while the scores fit into memory, from a histogram beyond."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from functools import cached_property

import numpy as np

from owseg.errors import OwsegError
from owseg.metrics.pooled import EXACT_PIXELS
from owseg.openset import Threshold, check_enough, check_fpr, check_method

BINS = 1 << 22
"""The bins of the histogram: a float32 by its sign, its exponent and 13 bits of its fraction."""

KEYS = (1 << 32) // BINS
"""So many float32 are in a bin, one after another in the order of their values."""

WIDTH = 2.0**-13
"""Two scores of one bin differ by less than this share of their size, 1/8192."""


def threshold_at_fpr(
    score_maps: Iterable[tuple[np.ndarray, np.ndarray]],
    fpr: float = 0.05,
    method: str = "quantile",
    limit: int | None = None,
) -> Threshold:
    """Return the smallest threshold at which known pixels are predicted as unknown no more often than ``fpr``.

    ``score_maps`` yields for each image its score (H, W) and where its ground truth is a known class, (H, W) bool; a
    score of -inf marks a pixel that is never predicted as unknown.

    * "quantile": the share of all known pixels, pooled, with score > threshold is at most ``fpr``.
    * "conformal": conformal risk control (Angelopoulos et al., ICLR 2024). With ``L_i(t)`` the share of
      image i's known pixels with score > t, the threshold is ``inf {t : n/(n+1) mean_i L_i(t) + 1/(n+1) <=
      fpr}``. If the next image is exchangeable with these n, and network and score were fixed without use of
      them, ``E[L_next] <= fpr`` for any n and any network: a bound on the mean over images, not on each image. It
      needs ``n >= 1/fpr - 1``.

    Up to ``limit`` known pixels (by default ``EXACT_PIXELS``) all scores are held, sorted by image, 4 bytes each: the
    threshold is one of them, and exact. Of more, a histogram of ``BINS`` bins is held, 64 MiB, and twice that at the
    end. The threshold is then ``binned``: it keeps the same promise, ``achieved_fpr`` is that at it, and it lies above
    the exact one by less than ``WIDTH`` of its size.

    Images without a known pixel are skipped. Raises ``OwsegError`` for a rate outside (0, 1), an unknown method, a
    score that is NaN or +inf, maps that differ in size, no known pixel with a finite score, or too few images.
    """
    check_fpr(fpr)
    check_method(method)
    known = _KnownScores(EXACT_PIXELS if limit is None else limit)
    for score, where in score_maps:
        known.update(score, where)
    low, high, n = known.lowest, known.greatest, known.images
    if not n or low > high:
        raise OwsegError("no known pixel is left to calibrate on; give images that show known classes.")
    check_enough(n, fpr, method)
    pooled, mean = known.pooled, known.mean
    if method == "quantile":
        value = _first(low, high, lambda t: pooled(t) <= fpr)
        achieved = pooled(value)
    else:
        # Both rates fall as t grows and, at the largest score, are at their least: the condition holds from some t on.
        value = _first(low, high, lambda t: n / (n + 1) * mean(t) + 1 / (n + 1) <= fpr)
        achieved = mean(value)
    # A threshold at or below the median has no such distance; 1 keeps a division by the unit safe.
    unit = float(value) - float(_first(low, high, lambda t: pooled(t) <= 0.5))
    unit = unit if unit > 0 else 1.0
    return Threshold(float(value), method, fpr, achieved, unit, n, known.pixels, binned=known.binned)


class _KnownScores:
    """The known scores of ``images`` images: all of them, or beyond ``limit`` pixels how many are in each bin.

    ``least`` and ``greatest`` are those of the finite ones: -inf counts in every rate, but is no threshold.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.images, self.pixels = limit, 0, 0
        self.least: np.float32 = np.float32(np.inf)
        self.greatest: np.float32 = np.float32(-np.inf)
        # Sorted once, each count of scores above t is a binary search per image.
        self._sorted: list[np.ndarray] = []
        # By bin, how many scores are in it, and which share of the scores of their image these are, summed.
        self._bins = np.zeros((2, 0))

    @property
    def binned(self) -> bool:
        """Whether there are more pixels than ``limit``, so that the scores are not held."""
        return self.pixels > self.limit

    @property
    def lowest(self) -> np.float32:
        """The lowest threshold that is looked at: the least score, or the largest float32 of the bin that it is in."""
        if not self.binned:
            return self.least
        end = (int(_bin(_key(self.least))) + 1) * KEYS - (1 << 31) - 1
        return _float(min(end, int(_key(self.greatest))))

    def update(self, score: np.ndarray, known: np.ndarray) -> None:
        """Add one image: its score (H, W), and where it is known, (H, W) bool; nothing where it is not at all."""
        if score.shape != known.shape:
            raise OwsegError(f"a score of {score.shape} does not fit a mask of {known.shape}; resize one of them.")
        scores = score[known.astype(bool)].astype(np.float32, copy=False)
        if np.isnan(scores).any() or np.isposinf(scores).any():
            raise OwsegError("a score is NaN or infinite; check the weights and the images.")
        if not scores.size:
            return
        scores.sort()
        if (finite := scores[np.searchsorted(scores, -np.inf, "right") :]).size:
            self.least, self.greatest = min(self.least, finite[0]), max(self.greatest, finite[-1])
        self.images, self.pixels = self.images + 1, self.pixels + scores.size
        self._sorted.append(scores)
        while self.binned and self._sorted:
            self._count(self._sorted.pop())

    def _count(self, scores: np.ndarray) -> None:
        if not self._bins.size:
            self._bins = np.zeros((2, BINS))
        bins, counts = np.unique(_bin(_key(scores)), return_counts=True)
        self._bins[:, bins] += counts, counts / scores.size

    def pooled(self, t: np.float32) -> float:
        """Return the share of all scores that is above ``t``; of bins, no less than that (see ``_in_bins_from``)."""
        if self.binned:
            return float(self._in_bins_from(t)[0] / self.pixels)
        above, sizes = self._above(t)
        return float(above.sum() / sizes.sum())

    def mean(self, t: np.float32) -> float:
        """Return the mean over the images of the share of their scores that is above ``t``, as ``pooled`` does."""
        if self.binned:
            return float(self._in_bins_from(t)[1] / self.images)
        above, sizes = self._above(t)
        return float((above / sizes).mean())

    def _above(self, t: np.float32) -> tuple[np.ndarray, np.ndarray]:
        """Return how many scores of each image are above ``t``, and how many it has."""
        sizes = np.array([p.size for p in self._sorted])
        return sizes - [np.searchsorted(p, t, "right") for p in self._sorted], sizes

    def _in_bins_from(self, t: np.float32) -> np.ndarray:
        """Return the sums (2,) over the bins that may hold a score above ``t``.

        They hold no other one where ``t`` is the largest float32 of a bin, or no score is above it.
        """
        return self._from[:, _bin(_key(t) + 1)] if t < self.greatest else np.zeros(2)

    @cached_property
    def _from(self) -> np.ndarray:
        """The sums (2, BINS) over each bin and all above it."""
        return np.cumsum(self._bins[:, ::-1], 1)[:, ::-1]


def _first(low: np.float32, high: np.float32, holds: Callable[[np.float32], bool]) -> np.float32:
    """Return the smallest float32 from ``low`` to ``high`` for which ``holds``.

    It must hold at ``high``, and above wherever it holds.
    """
    # Floats are in the order of their bit patterns, so bisection needs at most 32 trials. Where ``holds`` reads counts
    # of scores above t it changes only at scores, so the result is one of the scores.
    keys = range(int(_key(low)), int(_key(high)))
    return _float(keys.start + bisect_left(keys, True, key=lambda key: holds(_float(key))))


def _key(x: np.ndarray | np.float32) -> np.ndarray:
    """Return integers in the order of float32 values; -0 and 0 are one."""
    # A negative float has the sign bit set and the bits of its magnitude: the minus sign restores the order.
    bits = x.view(np.int32).astype(np.int64)
    keys: np.ndarray = np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))
    return keys


def _bin(keys: np.ndarray) -> np.ndarray:
    """Return the bins, from 0 to ``BINS`` - 1 in the order of the values, of float32 values by their ``_key``."""
    return (keys + (1 << 31)) // KEYS


def _float(key: int) -> np.float32:
    """Return the float32 whose ``_key`` it is."""
    magnitude: np.float32 = np.uint32(abs(key)).view(np.float32)
    return magnitude if key >= 0 else np.float32(-magnitude)
