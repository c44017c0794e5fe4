"""Pixel metrics pooled over a data set of any size: exact while the scores fit into memory, from a histogram beyond."""

from __future__ import annotations

from collections.abc import Mapping

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

    def part_of(self, share: float) -> Pooled:
        """Return this state of a ``share`` of all images, in (0, 1], without its scores where all surely have too many.

        That is, where images like these add up to twice ``limit``: what is merged of the parts is from histograms then.
        """
        return Pooled._of(self, None if self.pixels > 2 * share * self.limit else self._exact, self._binned)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return everything added so far, as ``from_arrays`` reads it."""
        exact = {} if self._exact is None else self._exact.to_arrays()
        return {"pixels": np.array([self.pixels]), **exact, **self._binned.to_arrays()}

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> Pooled:
        """Return the state that ``to_arrays`` wrote, with the ``limit`` of this."""
        exact = Exact().from_arrays(arrays) if "outliers" in arrays else None
        read = Pooled._of(self, exact, self._binned.from_arrays(arrays))
        read.pixels = int(arrays["pixels"][0])
        return read

    @classmethod
    def _of(cls, state: Pooled, exact: Exact | None, binned: Binned) -> Pooled:
        same = cls(state.limit)
        same.pixels, same._exact, same._binned = state.pixels, exact, binned
        return same

    def compute(self) -> PixelMetrics:
        """Return the metrics of everything added so far; those from a histogram have ``bounds``."""
        return (self._exact or self._binned).compute()

    def curves(self, points: int = 512) -> Curves:
        """Return the ROC and precision-recall curves at up to ``points`` thresholds."""
        return (self._exact or self._binned).curves(points)
