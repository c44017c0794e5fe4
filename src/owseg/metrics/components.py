"""How well whole objects are found: sIoU, PPV and F1 over connected components, as SegmentMeIfYouCan defines them.

Chan et al., "SegmentMeIfYouCan: A Benchmark for Anomaly Segmentation", NeurIPS 2021 Datasets and Benchmarks,
arXiv:2104.14812, section 4. Components are 8-connected. With K the ground-truth components, K'(k) the union of the
predicted components that touch k, and A(k) the union of the other ground-truth components:

    sIoU(k) = |k & K'(k)| / |(k | K'(k)) - A(k)|        PPV(p) = |p & union of K| / |p|
    TP = #{k: sIoU(k) >= tau}   FN = #{k: sIoU(k) < tau}   FP = #{p: PPV(p) < tau}   F1 = 2 TP / (2 TP + FN + FP)

The figures are the means of sIoU and PPV over all components of all images, and the mean of F1 over tau = .25, .30,
..., .75. What the paper leaves open is as in the benchmark's code (road-anomaly-benchmark), whose figures are the
published ones:

* void is called nothing before components are formed, so it can cut a predicted component in two;
* predicted components below a least size are dropped, ground-truth ones below another become void;
* they become void only then: their pixels leave the predicted components, which stay whole, and one that has no other
  pixel is not counted;
* the threshold on the score is that of the best pixel F1 on the images measured (``best_f1_threshold`` of
  ``owseg.metrics.pixel``), which looks at their truth; a calibrated one does not.

The paper counts a TP where sIoU > tau and an FP where PPV <= tau, the code as above; the code is the default and
``strict`` is the paper. They differ only where a ratio equals tau, and here .6 is .6: ratios are compared in whole
pixels. One oddity of the code is not followed: an image whose background and void together are below the least size
of ground truth, all of whose pixels it makes void.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label

from owseg.errors import OwsegError
from owseg.labels import IGNORE, UNKNOWN

NAN = float("nan")


TAU = np.arange(5, 16)
"""The thresholds of sIoU and PPV, in twentieths."""


@dataclass(frozen=True)
class Sizes:
    """The least sizes, in pixels, of a predicted and of a ground-truth component that counts."""

    predicted: int = 500
    truth: int = 100


ANOMALY_TRACK = Sizes(500, 100)


OBSTACLE_TRACK = Sizes(50, 10)


@dataclass(frozen=True)
class ComponentMetrics:
    """Mean sIoU, mean PPV and mean F1 in [0, 1], NaN where there is nothing to take them over.

    ``truths`` and ``predicted`` count the components; ``tp`` and ``fp`` have one count for each tau, FN being
    ``truths`` - TP.
    """

    siou: float
    ppv: float
    f1: float
    truths: int
    predicted: int
    tp: tuple[int, ...]
    fp: tuple[int, ...]


@dataclass(frozen=True)
class Matched:
    """What one image's components have in common, in pixels (int64).

    Of n ground-truth components ``hit`` and ``union`` (n,): sIoU = hit / union. Of m predicted ones ``right`` and
    ``size`` (m,): PPV = right / size.
    """

    hit: np.ndarray
    union: np.ndarray
    right: np.ndarray
    size: np.ndarray


def match(called: np.ndarray, target: np.ndarray, sizes: Sizes = ANOMALY_TRACK) -> Matched:
    """Match the components of one image: ``called`` (H, W) bool is score > threshold, ``target`` (H, W) label ids.

    Each map is labelled once, and from there on only runs of equal labels are looked at. As ground-truth components do
    not overlap, what A(k) takes from K'(k) is what lies in other components, so ``|(k | K'(k)) - A(k)|`` is |k| plus
    the pixels of K'(k) that lie in no component at all: a sum over pairs that touch. Raises ``OwsegError`` where the
    shapes differ.
    """
    if called.shape != target.shape:
        raise OwsegError(f"a mask of {called.shape} does not fit a target of {target.shape}.")
    truth, found = _labelled(target == UNKNOWN), _labelled(called.astype(bool, copy=False) & (target != IGNORE))
    t, p, length = _runs(truth, found)
    area, size = _sums(t, length), _sums(p, length)
    counts, kept = area >= sizes.truth, size >= sizes.predicted
    counts[0] = kept[0] = False
    size -= _sums(p, length * (~counts[t] & (t > 0)), len(size))
    kept &= size > 0
    both = counts[t] & kept[p]
    t, p, length = t[both], p[both], length[both]
    hit, right = _sums(t, length, len(area)), _sums(p, length, len(size))
    pairs = np.unique(t.astype(np.int64) * len(size) + p)
    wrong = _sums(pairs // len(size), (size - right)[pairs % len(size)], len(area))
    return Matched(hit[counts], (area + wrong)[counts], right[kept], size[kept])


class Components:
    """The component metrics of all images, images without anomalies included.

    Every tau is answered at once. Memory: 26 numbers, however many images.
    """

    def __init__(self, sizes: Sizes = ANOMALY_TRACK, strict: bool = False) -> None:
        self.sizes, self.strict = sizes, strict
        self._tp, self._fp = np.zeros((2, len(TAU)), np.int64)
        self._siou = self._ppv = 0.0
        self._truths = self._predicted = 0

    def update(self, called: np.ndarray, target: np.ndarray) -> None:
        """Add one image: where it is called unknown, (H, W) bool, and its label map (H, W)."""
        m = match(called, target, self.sizes)
        self._tp += self._reaches(m.hit, m.union).sum(1)
        self._fp += (~self._reaches(m.right, m.size)).sum(1)
        self._siou += float((m.hit / m.union).sum())
        self._ppv += float((m.right / m.size).sum())
        self._truths += len(m.hit)
        self._predicted += len(m.size)

    def __add__(self, other: Components) -> Components:
        if (self.sizes, self.strict) != (other.sizes, other.strict):
            raise OwsegError("only component metrics of the same sizes and the same rule can be merged.")
        merged = Components(self.sizes, self.strict)
        merged._tp, merged._fp = self._tp + other._tp, self._fp + other._fp
        merged._siou, merged._ppv = self._siou + other._siou, self._ppv + other._ppv
        merged._truths, merged._predicted = self._truths + other._truths, self._predicted + other._predicted
        return merged

    def compute(self) -> ComponentMetrics:
        """Return the figures over everything added so far."""
        errors = self._truths - self._tp + self._fp
        return ComponentMetrics(
            self._siou / self._truths if self._truths else NAN,
            self._ppv / self._predicted if self._predicted else NAN,
            float((2 * self._tp / (2 * self._tp + errors)).mean()) if self._truths or self._predicted else NAN,
            self._truths,
            self._predicted,
            tuple(self._tp.tolist()),
            tuple(self._fp.tolist()),
        )

    def _reaches(self, part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """Return, for each tau, which ratios count as reaching it; (11, n) bool."""
        ratio, tau = 20 * part, TAU[:, None] * whole
        return ratio > tau if self.strict else ratio >= tau


def _labelled(mask: np.ndarray) -> np.ndarray:
    """Return the number of each pixel's component, from 1, and 0 outside; (H * W,) int32."""
    return label(mask, np.ones((3, 3), bool))[0].ravel()


def _runs(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the values of ``one`` and ``other``, both (n,), in each stretch where neither changes, and its length."""
    starts = np.flatnonzero((one[1:] != one[:-1]) | (other[1:] != other[:-1])) + 1
    starts = np.concatenate([[0], starts])
    return one[starts], other[starts], np.diff(starts, append=len(one))


def _sums(numbers: np.ndarray, amounts: np.ndarray, count: int = 0) -> np.ndarray:
    """Return the sum of ``amounts`` for each number from 0; int64, exact up to 2^53."""
    return np.bincount(numbers, amounts, count).astype(np.int64)
