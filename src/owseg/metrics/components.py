"""How well whole objects are detected: sIoU, PPV and F1 over connected components, as SegmentMeIfYouCan defines them.

Chan et al., "SegmentMeIfYouCan: A Benchmark for Anomaly Segmentation", NeurIPS 2021 Datasets and Benchmarks,
arXiv:2104.14812, section 4. Components are 8-connected. With K the ground-truth components, K'(k) the union of the
predicted components that touch k, and A(k) the union of the other ground-truth components:

    sIoU(k) = |k & K'(k)| / |(k | K'(k)) - A(k)|        PPV(p) = |p & union of K| / |p|
    TP = #{k: sIoU(k) >= tau}   FN = #{k: sIoU(k) < tau}   FP = #{p: PPV(p) < tau}   F1 = 2 TP / (2 TP + FN + FP)

The metrics are the means of sIoU and PPV over all components of all images, and the mean of F1 over tau = .25, .30,
..., .75. What the paper leaves open is as in the benchmark's code (road-anomaly-benchmark), by which the published
numbers were computed:

* void pixels leave the prediction before components are formed, so void can cut a predicted component in two;
* predicted components below a least size are dropped, ground-truth ones below another become void;
* they become void only then: their pixels leave the predicted components, which stay whole, and one that has no other
  pixel is not counted;
* the threshold on the score is that of the best pixel F1 on the evaluated images (``best_f1_threshold`` of
  ``owseg.metrics.pixel``), which needs their ground truth; a calibrated one does not.

The paper counts a TP where sIoU > tau and an FP where PPV <= tau, the code as above; the code is the default and
``strict`` is the paper. They differ only where a ratio equals tau.

Two details of the code are not followed. Its tau = .6 is 0.6000000000000001, the eighth of ``linspace(.25, .75, 11)``,
so a ratio of exactly 3/5 misses it; here ratios are compared in whole pixels, and 3/5 reaches .6. That needs a
component whose size is a multiple of five: on made-up maps of a few pixels mean F1 differs by at most .009. And where
the background and void of an image together are below the least size of ground truth, it makes all their pixels void.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import nan

import numpy as np
from scipy.ndimage import label

from owseg.errors import OwsegError
from owseg.labels import IGNORE, UNKNOWN

TAU = np.arange(5, 16)
"""The thresholds of sIoU and PPV, in twentieths."""


@dataclass(frozen=True)
class Sizes:
    """The least size, in pixels, at which a predicted and a ground-truth component counts."""

    predicted: int = 500
    ground_truth: int = 100


ANOMALY_TRACK, OBSTACLE_TRACK = Sizes(500, 100), Sizes(50, 10)
"""The sizes of SegmentMeIfYouCan's two tracks, RoadAnomaly21 and RoadObstacle21."""


@dataclass(frozen=True)
class ComponentMetrics:
    """Mean sIoU, mean PPV and mean F1 in [0, 1], NaN where no component counts.

    ``ground_truths`` and ``predicted`` count the ground-truth and the predicted components; ``tp`` and ``fp`` have one
    count for each tau of ``TAU``, and FN = ``ground_truths`` - TP.
    """

    siou: float
    ppv: float
    f1: float
    ground_truths: int
    predicted: int
    tp: tuple[int, ...]
    fp: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Matched:
    """The overlaps of one image's components, in pixels (int64).

    Of n ground-truth components ``intersection`` and ``union`` (n,): sIoU = intersection / union. Of m predicted ones
    ``correct`` and ``size`` (m,): PPV = correct / size.
    """

    intersection: np.ndarray = field(repr=False)
    union: np.ndarray = field(repr=False)
    correct: np.ndarray = field(repr=False)
    size: np.ndarray = field(repr=False)


def match(predicted: np.ndarray, target: np.ndarray, sizes: Sizes = ANOMALY_TRACK) -> Matched:
    """Match the components of one image: ``predicted`` (H, W) bool is score > threshold, ``target`` (H, W) label ids.

    Raises ``OwsegError`` where the sizes differ.
    """
    # Each map is labelled once; from there on only runs of equal labels are read. As ground-truth components do not
    # overlap, A(k) takes from K'(k) the pixels in other components, so |(k | K'(k)) - A(k)| is |k| plus the pixels of
    # K'(k) that lie in no ground-truth component at all: a sum over pairs that touch.
    if predicted.shape != target.shape:
        raise OwsegError(f"a mask of {predicted.shape} does not fit a target of {target.shape}.")
    # From here t and p are component numbers by run, 0 the background, and length the pixels of each run.
    t, p, length = _runs(
        _labelled(target == UNKNOWN), _labelled(predicted.astype(bool, copy=False) & (target != IGNORE))
    )
    area, size = _sums(t, length), _sums(p, length)
    counts, kept = area >= sizes.ground_truth, size >= sizes.predicted
    # Number 0 is the background of either map.
    counts[0] = kept[0] = False
    # Ground truth that is too small became void, and void leaves the predicted components.
    size -= _sums(p, length * (~counts[t] & (t > 0)), len(size))
    kept &= size > 0
    both = counts[t] & kept[p]
    t, p, length = t[both], p[both], length[both]
    intersection, correct = _sums(t, length, len(area)), _sums(p, length, len(size))
    # Each touching pair once, however many runs it shares, as one integer.
    pairs = np.unique(t.astype(np.int64) * len(size) + p)
    # size - correct are the pixels of a predicted component in no ground truth.
    outside = _sums(pairs // len(size), (size - correct)[pairs % len(size)], len(area))
    return Matched(intersection[counts], (area + outside)[counts], correct[kept], size[kept])


class Components:
    """The component metrics of all images, images without anomalies included, at every tau of ``TAU``.

    ``strict`` counts as the paper does, not as the benchmark's code. Memory: 26 numbers, however many images.
    """

    def __init__(self, sizes: Sizes = ANOMALY_TRACK, strict: bool = False) -> None:
        self.sizes, self.strict = sizes, strict
        self._tp, self._fp = np.zeros((2, len(TAU)), np.int64)
        self._siou = self._ppv = 0.0
        self._ground_truths = self._predicted = 0

    def update(self, predicted: np.ndarray, target: np.ndarray) -> None:
        """Add one image: ``predicted`` (H, W) bool is where it is predicted as unknown, ``target`` (H, W) uint8."""
        m = match(predicted, target, self.sizes)
        self._tp += self._reaches(m.intersection, m.union).sum(1)
        self._fp += (~self._reaches(m.correct, m.size)).sum(1)
        self._siou += float((m.intersection / m.union).sum())
        self._ppv += float((m.correct / m.size).sum())
        self._ground_truths += len(m.intersection)
        self._predicted += len(m.size)

    def __add__(self, other: Components) -> Components:
        if (self.sizes, self.strict) != (other.sizes, other.strict):
            raise OwsegError("only component metrics of the same sizes and the same rule can be merged.")
        merged = Components(self.sizes, self.strict)
        merged._tp, merged._fp = self._tp + other._tp, self._fp + other._fp
        merged._siou, merged._ppv = self._siou + other._siou, self._ppv + other._ppv
        merged._ground_truths = self._ground_truths + other._ground_truths
        merged._predicted = self._predicted + other._predicted
        return merged

    def compute(self) -> ComponentMetrics:
        """Return the metrics of everything added so far."""
        # FN + FP, (11,), with FN = ground truths - TP.
        errors = self._ground_truths - self._tp + self._fp
        return ComponentMetrics(
            self._siou / self._ground_truths if self._ground_truths else nan,
            self._ppv / self._predicted if self._predicted else nan,
            float((2 * self._tp / (2 * self._tp + errors)).mean()) if self._ground_truths or self._predicted else nan,
            self._ground_truths,
            self._predicted,
            tuple(self._tp.tolist()),
            tuple(self._fp.tolist()),
        )

    def _reaches(self, part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """Return, for each tau, which ratios count as reaching it; (11, n) bool."""
        # Products of integers: a ratio that equals tau is decided exactly.
        ratio, tau = 20 * part, TAU[:, None] * whole
        reaches: np.ndarray = ratio > tau if self.strict else ratio >= tau
        return reaches


def _labelled(mask: np.ndarray) -> np.ndarray:
    """Return the number of each pixel's 8-connected component, from 1, and 0 outside; (H * W,) int32."""
    numbers: np.ndarray = label(mask, np.ones((3, 3), bool))[0]
    return numbers.ravel()


def _runs(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the values of ``one`` and ``other``, both (n,), in each stretch where neither changes, and its length."""
    # Label maps are constant over long stretches, so that sums over runs are far cheaper than sums over pixels.
    starts = np.flatnonzero((one[1:] != one[:-1]) | (other[1:] != other[:-1])) + 1
    starts = np.concatenate([[0], starts])
    return one[starts], other[starts], np.diff(starts, append=len(one))


def _sums(numbers: np.ndarray, amounts: np.ndarray, count: int = 0) -> np.ndarray:
    """Return the sum of ``amounts`` for each number from 0; int64, exact up to 2^53."""
    return np.bincount(numbers, amounts, count).astype(np.int64)
