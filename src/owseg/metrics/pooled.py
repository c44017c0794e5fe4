"""Pixel metrics pooled over a data set of any size: exact while the scores fit into memory, from a histogram beyond."""

from __future__ import annotations

import numpy as np

from owseg.labels import IGNORE
from owseg.metrics.binned import Binned
from owseg.metrics.pixel import Curves, Exact, PixelMetrics

EXACT_PIXELS = 1 << 26
"""The number of pixels up to which metrics are exact, 67 million: 256 MiB a score, twice that while computing."""


class Pooled:
    """``Exact`` up to ``limit`` pixels that are not void (by default ``EXACT_PIXELS``), ``Binned`` beyond.

    FPR95 is that of the "first" operating point (see ``Exact``). Memory: at most ``4 limit`` bytes and 8 MiB.
    """

    operating_point = "first"

    def __init__(self, limit: int | None = None) -> None:
        self.limit = EXACT_PIXELS if limit is None else limit
        self.pixels = 0
        self._exact: Exact | None = Exact()
        # The histogram is filled from the start, which costs little: the scores cannot be counted again later.
        self._binned = Binned()

    @property
    def exact(self) -> bool:
        """Whether every score is still held, so that the metrics are exact."""
        return self._exact is not None

    def update(self, score: np.ndarray, target: np.ndarray) -> None:
        """Add one image: ``score`` (H, W) float and ``target`` (H, W) uint8."""
        self.pixels += int(np.count_nonzero(target != IGNORE))
        self._binned.update(score, target)
        if self.pixels > self.limit:
            self._exact = None  # which frees its scores
        elif self._exact is not None:
            self._exact.update(score, target)

    def __add__(self, other: Pooled) -> Pooled:
        merged = Pooled(min(self.limit, other.limit))
        merged.pixels, merged._binned = self.pixels + other.pixels, self._binned + other._binned
        both = self._exact is not None and other._exact is not None and merged.pixels <= merged.limit
        merged._exact = self._exact + other._exact if both else None  # type: ignore[operator]
        return merged

    def compute(self) -> PixelMetrics:
        """Return the metrics of everything added so far; those from a histogram have ``bounds``."""
        return (self._exact or self._binned).compute()

    def curves(self, points: int = 512) -> Curves:
        """Return the ROC and precision-recall curves at up to ``points`` thresholds."""
        return (self._exact or self._binned).curves(points)
