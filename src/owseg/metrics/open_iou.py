"""open-mIoU: how well the known classes are segmented where there are unknown objects, at one threshold or several.

The prediction is the open-set map: "unknown" where score > threshold, else the closed label. With n_ij the pixels of
true class i that are predicted as j, both among the K known classes and the unknown (K + 1):

    open-IoU_k = n_kk / (sum_j n_kj + sum_i n_ik - n_kk)

so that an outlier predicted as k is a false positive of k, and a pixel of k predicted as unknown a false negative; void
does not count. A pixel of a known class that the ground truth does not name (``KNOWN``) counts only where it is
predicted as unknown. open-mIoU is the mean over the K known classes; the IoU of the unknown is given apart. (Grcic et
al., "DenseHybrid", ECCV 2022, arXiv:2207.02606; "On Advantages of Mask-level Recognition for Outlier-aware
Segmentation", CVPRW 2023, arXiv:2301.03407.) The difference to the closed mIoU is the cost of the unknown. A known
class that no ground truth shows is left out of the mean, as everywhere in ``owseg.metrics.iou``; the authors' code
counts it as 0 if it is predicted somewhere.

Their threshold is the first with TPR > .95 on the *other* town of StreetHazards (``threshold_above``, and
``owseg.evaluation.crosswise``). A threshold found on the evaluated images makes open-mIoU optimistic, one calibrated on
other images does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor, nan

import numpy as np

from owseg.errors import OwsegError
from owseg.labels import IGNORE, KNOWN, UNKNOWN
from owseg.metrics.iou import IoU

OUTLIER = ""  # a name that no class can have


@dataclass(frozen=True)
class OpenMetrics:
    """Metrics of the open-set map at one ``threshold``; all in [0, 1], or NaN where undefined.

    ``miou`` is the open-mIoU, ``iou`` has the open-IoU of the K known classes by name, ``unknown`` is the IoU of the
    unknown. ``recall`` and ``fpr`` are the shares of unknown and of known pixels that are predicted as unknown,
    ``precision`` the share of the pixels predicted as unknown that are.
    """

    threshold: float
    miou: float
    unknown: float
    recall: float
    precision: float
    fpr: float
    iou: dict[str, float] = field(hash=False)


class OpenIoU:
    """The confusion matrices of the open-set maps at several thresholds, all filled in one pass.

    ``names`` are the K known classes, ``thresholds`` the T thresholds by name. Each pixel is counted once, by its true
    class, its closed label and how many thresholds its score exceeds. Memory: 8 (T + 1) (K + 2) K bytes.
    """

    def __init__(self, names: Iterable[str], thresholds: Mapping[str, float]) -> None:
        self.names, self.thresholds = tuple(names), dict(thresholds)
        k = len(self.names)
        if any(np.isnan(t) for t in self.thresholds.values()):
            raise OwsegError("a threshold is NaN; leave out what is not defined.")
        # Thresholds exceeded; true class (the K, KNOWN, UNKNOWN); closed label.
        self._counts = np.zeros((len(self.thresholds) + 1, k + 2, k), np.int64)

    def update(self, score: np.ndarray, labels: np.ndarray, target: np.ndarray) -> None:
        """Add one image: ``score`` (H, W) float, ``labels`` (H, W) uint8 the closed map, ``target`` (H, W) uint8.

        Raises ``OwsegError`` where sizes or types differ, the score holds NaN, or an id is not one of the K classes.
        """
        if not score.shape == labels.shape == target.shape:
            raise OwsegError(f"score {score.shape}, labels {labels.shape} and target {target.shape} differ in size.")
        if not labels.dtype == target.dtype == np.uint8:
            raise OwsegError(f"labels and target are maps of uint8, not of {labels.dtype} and {target.dtype}.")
        score, k = score.astype(np.float32, copy=False), len(self.names)
        # Void may be NaN; the first test, on the whole map, spares the copy in the usual case.
        if np.isnan(score).any() and np.isnan(score[target != IGNORE]).any():
            raise OwsegError("the score holds NaN; check the weights and the image.")
        exceeded = np.zeros(score.shape, np.int32)
        for threshold in self.thresholds.values():
            exceeded += score > np.float32(threshold)
        # All three of a pixel in one integer, so that one bincount counts every threshold.
        index = exceeded << 16 | target.astype(np.int32) << 8 | labels
        counts = np.bincount(index.ravel(), minlength=len(self._counts) << 16).reshape(-1, 256, 256)
        # No class: in the target the ids from K to 252; in the closed map those from K on, unless the target is void.
        if counts[:, k:KNOWN].any() or counts[:, :IGNORE, k:].any():
            raise OwsegError(f"the maps hold ids beyond the {k} classes; give the closed map, and a target in its ids.")
        self._counts += counts[:, [*range(k), KNOWN, UNKNOWN], :k]

    def __add__(self, other: OpenIoU) -> OpenIoU:
        if (self.names, self.thresholds) != (other.names, other.thresholds):
            raise OwsegError("only states of the same classes and thresholds can be merged.")
        merged = OpenIoU(self.names, self.thresholds)
        merged._counts = self._counts + other._counts
        return merged

    def closed(self) -> IoU:
        """Return the IoU of the closed map on known pixels, as if there were no threshold."""
        # The last two rows are KNOWN and UNKNOWN.
        return IoU(self.names, self._counts.sum(0)[:-2])

    def compute(self) -> dict[str, OpenMetrics]:
        """Return the metrics by the name of the threshold."""
        return {name: self._at(value) for name, value in self.thresholds.items()}

    def _at(self, threshold: float) -> OpenMetrics:
        # How many thresholds are lower. A score above this one exceeds those, too, and so at least one more.
        exceeded = sum(np.float32(other) < np.float32(threshold) for other in self.thresholds.values())
        kept = self._counts[: exceeded + 1].sum(0)
        unknown = self._counts[exceeded + 1 :].sum((0, 2))  # by true class: predicted as unknown
        # (K + 2, K + 1): true classes, KNOWN, UNKNOWN against the K labels and "unknown"; without KNOWN it is square.
        matrix, k = np.column_stack([kept, unknown]), len(self.names)
        confusion = IoU((*self.names, OUTLIER), np.delete(matrix, k, 0))
        iou = {name: value for name, value in confusion.per_class().items() if name != OUTLIER}
        true, fp, tp = matrix.sum(1), int(unknown[:-1].sum()), int(unknown[-1])
        return OpenMetrics(
            threshold=threshold,
            miou=confusion.mean(self.names),
            unknown=_share(tp, true[-1] + fp) if true[-1] else nan,
            recall=_share(tp, true[-1]),
            precision=_share(tp, tp + fp),
            fpr=_share(fp, true[:-1].sum()),
            iou=iou,
        )


def threshold_above(outliers: np.ndarray, recall: float = 0.95) -> float:
    """Return the highest of the scores ``outliers`` (n,) that more than a share ``recall`` of them reach; n >= 1.

    That is the first threshold of a ROC curve (as scikit-learn's, with none of its points dropped) whose TPR is
    strictly above ``recall``. Pixels of that very score count in its TPR, but are not above the threshold: the authors'
    code decides by score > threshold, too.
    """
    # In whole pixels, by the decimal fraction: .95 is 19/20. More than m of n are m + 1 at least.
    needed = floor(Fraction(recall).limit_denominator(10**6) * len(outliers)) + 1
    at = len(outliers) - needed
    return float(np.partition(outliers, at)[at])


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else nan
