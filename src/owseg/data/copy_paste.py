"""Copy-paste of outliers into inlier images, for outlier exposure in training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from owseg.data.outliers import Outlier
from owseg.labels import UNKNOWN
from owseg.types import Sample

SIZES = (0.08, 0.6)
"""The range of the size of a pasted outlier: its longer side as a share of the image's shorter side."""


def paste(
    sample: Sample,
    outlier: Outlier,
    rng: np.random.Generator,
    sizes: tuple[float, float] = SIZES,
    feather: float = 0.0,
    factors: Sequence[float] = (),
) -> Sample:
    """Return ``sample`` with ``outlier`` pasted into it, whose pixels are UNKNOWN; nothing else changes.

    The outlier's size is drawn log-uniformly from ``sizes``; with ``factors`` it is its own times one of these, or as
    far as it fits (RPL's code). It is mirrored with probability 1/2, and lies wholly inside at a uniformly random
    place. ``feather`` is the width in pixels of the border, inside its edge, in which it is blended with the image. A
    sample without a target gets one that is 0 everywhere else. An outlier without a pixel leaves the sample as it is.
    """
    rows, columns = np.nonzero(outlier.mask.any(1))[0], np.nonzero(outlier.mask.any(0))[0]
    if not len(rows):
        return sample
    # The object alone is scaled to the size that was drawn, whatever its image has around it.
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    (height, width), (tall, wide) = sample.image.shape[1:], outlier.mask[box].shape
    if factors:
        factor = min(float(rng.choice(factors)), height / tall, width / wide)
    else:
        factor = np.exp(rng.uniform(*np.log(sizes))) * min(height, width) / max(tall, wide)
    h, w = min(height, max(1, round(factor * tall))), min(width, max(1, round(factor * wide)))
    # The edge is where the interpolated mask is one half.
    mask = _scaled(outlier.mask[box][None].astype(np.float32), (h, w))[0] > 0.5
    cut = _scaled(outlier.image[:, box[0], box[1]].astype(np.float32), (h, w))
    if rng.random() < 0.5:
        mask, cut = mask[:, ::-1], cut[:, :, ::-1]
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    place = np.s_[top : top + h, left : left + w]
    image = sample.image.copy()
    target = np.zeros((height, width), np.uint8) if sample.target is None else sample.target.copy()
    opacity = mask * _depth(mask, feather)
    behind = image[:, place[0], place[1]]
    image[:, place[0], place[1]] = np.where(mask, np.rint(opacity * cut + (1 - opacity) * behind), behind)
    target[place][mask] = UNKNOWN
    return Sample(image, target, f"{sample.id}+{outlier.id}")


def _depth(mask: np.ndarray, feather: float) -> np.ndarray:
    """Return the distance of each pixel from the edge of the mask, in units of ``feather`` pixels, at most 1."""
    if feather <= 0:
        return np.ones(mask.shape, np.float32)
    from scipy.ndimage import distance_transform_edt

    # The padding makes the border of the cut-out an edge as well.
    inside: np.ndarray = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return np.asarray(np.clip(inside / (feather + 1), 0, 1), np.float32)


def _scaled(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return (C, h, w) float32 interpolated to ``size``, without aliasing."""
    tensor = torch.from_numpy(np.ascontiguousarray(maps))[None]
    scaled: np.ndarray = F.interpolate(tensor, size=size, mode="bilinear", antialias=True)[0].numpy()
    return scaled
