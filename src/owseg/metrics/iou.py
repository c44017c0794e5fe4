"""Intersection over union, streamed image by image; states of several workers can be merged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from owseg.errors import OwsegError


@dataclass(frozen=True)
class IoU:
    """Per-class IoU from a confusion matrix of counts, ``counts[truth, predicted]`` (K, K) int64.

    ``IoU_k = n_kk / (sum_j n_kj + sum_j n_jk - n_kk)``. Pixels whose truth is no known class (UNKNOWN, IGNORE) do not
    count. Memory: 8 K^2 bytes. ``a + b`` merges two states, in any order.
    """

    names: tuple[str, ...]
    counts: np.ndarray

    @classmethod
    def of(cls, names: Iterable[str]) -> IoU:
        """Return the empty state for the classes ``names``."""
        names = tuple(names)
        return cls(names, np.zeros((len(names), len(names)), np.int64))

    def update(self, labels: np.ndarray, target: np.ndarray) -> IoU:
        """Return the state with one image added; ``labels`` and ``target`` (H, W) are ids, labels all known ones."""
        if labels.shape != target.shape:
            raise OwsegError(f"labels of {labels.shape} do not fit a target of {target.shape}.")
        k = len(self.names)
        known = target < k
        if labels[known].size and labels[known].max() >= k:
            raise OwsegError(f"the labels hold ids beyond the {k} classes; give the closed map.")
        pairs = target[known].astype(np.int64) * k + labels[known]
        return IoU(self.names, self.counts + np.bincount(pairs, minlength=k * k).reshape(k, k))

    def __add__(self, other: IoU) -> IoU:
        if self.names != other.names:
            raise OwsegError("only states of the same classes can be merged.")
        return IoU(self.names, self.counts + other.counts)

    def per_class(self) -> dict[str, float]:
        """Return the IoU by name; NaN for a class that is in no truth, whatever was predicted: it cannot be judged."""
        hit = np.diag(self.counts)
        truth, predicted = self.counts.sum(1), self.counts.sum(0)
        with np.errstate(invalid="ignore"):
            iou = np.where(truth > 0, hit / (truth + predicted - hit), np.nan)
        return dict(zip(self.names, iou.tolist(), strict=True))

    def mean(self, names: Iterable[str] | None = None) -> float:
        """Return mIoU over ``names`` (by default all) of the classes that occur in the truth; NaN if none does."""
        per_class = self.per_class()
        values = [v for n in (self.names if names is None else names) if not np.isnan(v := per_class[n])]
        return float(np.mean(values)) if values else float("nan")

    def empty(self) -> tuple[str, ...]:
        """Return the classes that no truth shows; a mean leaves them out (published figures may count them as 0)."""
        return tuple(n for n, v in self.per_class().items() if np.isnan(v))


def harmonic(old: float, novel: float) -> float:
    """Return ``2 old novel / (old + novel)`` (DMLNet, Table 4); 0 where both are 0."""
    return 2 * old * novel / (old + novel) if old + novel > 0 else old * novel
