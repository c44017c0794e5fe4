"""open-mIoU: how well the known classes are segmented where there are unknown objects, at one threshold or several.

The network's answer is the open-set map: "unknown" where score > threshold, else the closed label. With n_ij the pixels
of truth i that are called j, both among the K known classes and the unknown (K + 1):

    open-IoU_k = n_kk / (sum_j n_kj + sum_i n_ik - n_kk)

so that an outlier called k is a false positive of k, and a pixel of k called unknown a false negative; void does not
count. A pixel of some known class, nobody says which (``KNOWN``), counts only as wrongly called unknown. open-mIoU is
the mean over the K known classes: the unknown has an IoU of its own, which is not in it. (Grcic et
al., "DenseHybrid", ECCV 2022, arXiv:2207.02606; "On Advantages of Mask-level Recognition for Outlier-aware
Segmentation", CVPRW 2023, arXiv:2301.03407.) It falls short of the closed mIoU by what the unknown costs. A known class
that is in no truth is left out of the mean, as everywhere in ``owseg.metrics.iou``; the authors' code counts it as 0 if
it is predicted somewhere.

Their threshold is the first with TPR > .95 on the *other* town of StreetHazards: one found on the images that are
measured flatters, one that was calibrated does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from owseg.errors import OwsegError
from owseg.labels import IGNORE, KNOWN, UNKNOWN
from owseg.metrics.iou import IoU

NAN = float("nan")


OUTLIER = ""  # no class may be called so


@dataclass(frozen=True)
class OpenMetrics:
    """What calling unknown the pixels with score > ``threshold`` does.

    ``recall`` and ``fpr`` are the shares of unknown and of known pixels that are called unknown, ``precision`` the
    share of the pixels called unknown that are; ``iou`` has the K known classes by name, ``unknown`` is the IoU of the
    unknown. All in [0, 1], or NaN.
    """

    threshold: float
    miou: float
    unknown: float
    recall: float
    precision: float
    fpr: float
    iou: dict[str, float]


class OpenIoU:
    """The confusion matrices of the open-set maps at several thresholds, all filled in one pass.

    ``names`` are the K known classes, ``thresholds`` have names too. Each pixel is counted once, by truth, closed label
    and how many of the T thresholds its score exceeds. Memory: 8 (T + 1) (K + 2) K bytes.
    """

    def __init__(self, names: Iterable[str], thresholds: Mapping[str, float]) -> None:
        self.names, self.thresholds = tuple(names), dict(thresholds)
        k = len(self.names)
        if any(np.isnan(t) for t in self.thresholds.values()):
            raise OwsegError("a threshold is NaN; leave out what is not defined.")
        self._counts = np.zeros((len(self.thresholds) + 1, k + 2, k), np.int64)  # K, KNOWN, UNKNOWN

    def update(self, score: np.ndarray, labels: np.ndarray, target: np.ndarray) -> None:
        """Add one image: ``score`` (H, W) float, ``labels`` (H, W) uint8 the closed map, ``target`` (H, W) uint8.

        Raises ``OwsegError`` where shapes or types differ, the score holds NaN, or an id is not of the K classes.
        """
        if not score.shape == labels.shape == target.shape:
            raise OwsegError(f"score {score.shape}, labels {labels.shape} and target {target.shape} differ in size.")
        if not labels.dtype == target.dtype == np.uint8:
            raise OwsegError(f"labels and target are maps of uint8, not of {labels.dtype} and {target.dtype}.")
        score, k = score.astype(np.float32, copy=False), len(self.names)
        if np.isnan(score).any() and np.isnan(score[target != IGNORE]).any():
            raise OwsegError("the score holds NaN; check the weights and the image.")
        cells = np.zeros(score.shape, np.int32)
        for threshold in self.thresholds.values():
            cells += score > np.float32(threshold)
        cells = cells << 16 | target.astype(np.int32) << 8 | labels
        counts = np.bincount(cells.ravel(), minlength=len(self._counts) << 16).reshape(-1, 256, 256)
        if counts[:, k:KNOWN].any() or counts[:, :IGNORE, k:].any():
            raise OwsegError(f"the maps hold ids beyond the {k} classes; give the closed map and the truth in its ids.")
        self._counts += counts[:, [*range(k), KNOWN, UNKNOWN], :k]

    def __add__(self, other: OpenIoU) -> OpenIoU:
        if (self.names, self.thresholds) != (other.names, other.thresholds):
            raise OwsegError("only states of the same classes and thresholds can be merged.")
        merged = OpenIoU(self.names, self.thresholds)
        merged._counts = self._counts + other._counts
        return merged

    def closed(self) -> IoU:
        """Return the IoU of the closed map on known pixels, as if there were no threshold."""
        return IoU(self.names, self._counts.sum(0)[:-2])

    def compute(self) -> dict[str, OpenMetrics]:
        """Return the figures by the name of the threshold."""
        return {name: self._at(value) for name, value in self.thresholds.items()}

    def _at(self, threshold: float) -> OpenMetrics:
        exceeded = sum(np.float32(other) < np.float32(threshold) for other in self.thresholds.values())
        kept = self._counts[: exceeded + 1].sum(0)
        called = self._counts[exceeded + 1 :].sum((0, 2))
        matrix, k = np.column_stack([kept, called]), len(self.names)
        confusion = IoU((*self.names, OUTLIER), np.delete(matrix, k, 0))
        iou = {name: value for name, value in confusion.per_class().items() if name != OUTLIER}
        truth, false, hit = matrix.sum(1), int(called[:-1].sum()), int(called[-1])
        unknown = _share(hit, truth[-1] + false) if truth[-1] else NAN
        return OpenMetrics(
            threshold, confusion.mean(self.names), unknown, _share(hit, truth[-1]), _share(hit, hit + false),
            _share(false, truth[:-1].sum()), iou,
        )  # fmt: skip


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else NAN
