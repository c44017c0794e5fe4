"""Label maps in which some instances have another class: what a discrepancy network learns to find."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from scipy import ndimage

from owseg.labels import IGNORE

THINGS = (
    "person", "pedestrian", "rider", "bicyclist", "car", "vehicle", "truck", "bus", "train", "motorcycle",
    "motorcyclist", "bicycle", "traffic light", "traffic sign", "sign",
)  # fmt: skip
"""Names of classes whose connected pixels are mostly one object or a few."""

MIN_SHARE = 750 / (512 * 1024)
"""The smallest instance as a share of the image; Lis et al., ICCV 2019: 750 pixels of 512x1024."""


def connected_instances(ids: np.ndarray, classes: Collection[int], min_share: float = MIN_SHARE) -> np.ndarray:
    """Return the 4-connected components of each of ``classes`` in ids (H, W), numbered from 1; 0 elsewhere.

    For data without instances. Components of less than ``min_share`` of the image are left out.
    """
    out, count = np.zeros(ids.shape, np.int64), 0
    for label in sorted(classes):
        pieces, found = ndimage.label(ids == label)
        large = np.bincount(pieces.ravel(), minlength=found + 1) >= max(1.0, min_share * ids.size)
        large[0] = False
        numbers = np.where(large, np.cumsum(large) + count, 0)
        out += numbers[pieces]
        count += int(large.sum())
    return out


def swap_instances(
    ids: np.ndarray, instances: np.ndarray, classes: int, rng: np.random.Generator, share: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Return ids (H, W) in which some instances have another class, and where that is so, (H, W) uint8.

    ``instances`` (H, W) numbers them from 1; of those in ``ids``, ``floor(share * count)`` get a class drawn from all
    ``classes`` but their own (Lis et al., ICCV 2019, Sec. 3.3). The second map is 1 where the class was changed, 0
    where it was not, IGNORE where ``ids`` is no class.
    """
    altered, changed = ids.copy(), np.where(ids < classes, 0, IGNORE).astype(np.uint8)
    numbers = np.unique(instances[instances > 0])
    for number in rng.permutation(numbers)[: int(share * len(numbers))]:
        inside = (instances == number) & (ids < classes)
        if not inside.any():
            continue
        own = int(np.bincount(ids[inside]).argmax())
        other = int(rng.integers(classes - 1))
        altered[inside] = other + (other >= own)
        changed[inside] = altered[inside] != ids[inside]
    return altered, changed
