"""What the learners of the feature pyramid share: the space, masks on its grid, and where a class ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.scorers.mahalanobis import RelativeMahalanobis


def require_space(kb: KnowledgeBase, what: str) -> RelativeMahalanobis:
    """Return the whitened pyramid of ``kb``; raise ``OwsegError`` for ``what`` learns in it where it is not fitted."""
    if kb.feature_space is None:
        raise OwsegError(
            f"{what} needs the feature scorers; fit them first: owseg fit KB --data SET --scorers joint or, without "
            "labels, owseg fit KB IMAGES."
        )
    return kb.feature_space


def cover(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return the share of each cell of ``grid`` that ``mask`` (H, W) covers, flattened."""
    # The mean of a 0/1 mask over a cell.
    return F.adaptive_avg_pool2d(torch.from_numpy(mask)[None, None].float(), grid).flatten().numpy()


def best_distance(
    distances: Sequence[np.ndarray], hits: Sequence[np.ndarray], positives: int, negatives: int, max_false: float
) -> float | None:
    """Return the distance up to which IoU is best, of those up to which few of the negatives lie; None for none.

    ``distances`` and ``hits`` (bool: is it of the class?) are of the candidates, in any parts. Of the distances up to
    which at most a share ``max_false`` of the ``negatives`` lies, the one with the highest ``IoU = hits / (positives +
    false positives)`` is returned, the smallest of equals.
    """
    order = np.argsort(np.concatenate(distances))
    distance, hit = np.concatenate(distances)[order], np.cumsum(np.concatenate(hits)[order])
    # Of the first i candidates, those that are no hits.
    false = np.arange(1, len(hit) + 1) - hit
    # TP / (TP + FN + FP), with TP + FN all positives.
    iou = np.where(false <= max_false * negatives, hit / (positives + false), 0.0)
    return float(distance[np.argmax(iou)]) if iou.any() else None
