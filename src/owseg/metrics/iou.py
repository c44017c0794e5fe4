"""Intersection over union, updated image by image; the states of several workers can be merged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import nan

import numpy as np

from owseg.errors import OwsegError


@dataclass(frozen=True, eq=False)
class IoU:
    """Per-class IoU from a confusion matrix of counts, ``counts[true, predicted]`` (K, K) int64.

    ``IoU_k = n_kk / (sum_j n_kj + sum_j n_jk - n_kk)``. Pixels whose ground truth is not one of the K classes (KNOWN,
    UNKNOWN, IGNORE) do not count. Memory: 8 K^2 bytes. ``a + b`` merges two states, in any order.
    """

    names: tuple[str, ...]
    counts: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, names: Iterable[str]) -> IoU:
        """Return the empty state for the classes ``names``."""
        names = tuple(names)
        return cls(names, np.zeros((len(names), len(names)), np.int64))

    def update(self, labels: np.ndarray, target: np.ndarray) -> IoU:
        """Return the state with one image added: ``labels`` (H, W) its closed map, ``target`` (H, W) its ground truth.

        Raises ``OwsegError`` where the sizes differ and where a label is not one of the K classes.
        """
        if labels.shape != target.shape:
            raise OwsegError(f"labels of {labels.shape} do not fit a target of {target.shape}.")
        k = len(self.names)
        known = target < k
        if labels[known].size and labels[known].max() >= k:
            raise OwsegError(f"the labels hold ids beyond the {k} classes; give the closed map.")
        # Row and column of the matrix as one number, so that a single bincount fills it.
        pairs = target[known].astype(np.int64) * k + labels[known]
        return IoU(self.names, self.counts + np.bincount(pairs, minlength=k * k).reshape(k, k))

    def __add__(self, other: IoU) -> IoU:
        if self.names != other.names:
            raise OwsegError("only states of the same classes can be merged.")
        return IoU(self.names, self.counts + other.counts)

    def per_class(self) -> dict[str, float]:
        """Return the IoU by class; NaN for a class that no ground truth shows, whatever was predicted."""
        intersection = np.diag(self.counts)
        true, predicted = self.counts.sum(1), self.counts.sum(0)
        # 0 / 0 for a class that is neither shown nor predicted.
        with np.errstate(invalid="ignore"):
            iou = np.where(true > 0, intersection / (true + predicted - intersection), np.nan)
        return dict(zip(self.names, iou.tolist(), strict=True))

    def mean(self, names: Iterable[str] | None = None) -> float:
        """Return the mIoU of those of ``names`` (by default all) that the ground truth shows; NaN if it shows none."""
        per_class = self.per_class()
        values = [v for n in (self.names if names is None else names) if not np.isnan(v := per_class[n])]
        return float(np.mean(values)) if values else nan

    def empty(self) -> tuple[str, ...]:
        """Return the classes that no ground truth shows; ``mean`` leaves them out (others may count them as 0)."""
        return tuple(n for n, v in self.per_class().items() if np.isnan(v))


def harmonic(old: float, novel: float) -> float:
    """Return the harmonic mean ``2 old novel / (old + novel)`` of two mIoUs (DMLNet, Table 4); 0 where both are 0."""
    # The product is 0 where both are 0, and stays NaN where one is.
    return 2 * old * novel / (old + novel) if old + novel > 0 else old * novel
