"""Association and smoothing by trying everything and by closed forms, independent of ``owseg.inference.tracks``."""

from __future__ import annotations

import numpy as np


def pixel_iou(a, b, size=(40, 40)):
    """The IoU of two boxes of whole pixels, by counting them."""
    masks = np.zeros((2, *size), bool)
    for mask, (x, y, w, h) in zip(masks, (a, b), strict=True):
        mask[y : y + h, x : x + w] = True
    return (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()


def best_sum(affinity):
    """The largest sum of pairs of rows and columns, each used at most once, over all ways to choose them."""
    if affinity.shape[0] == 0:
        return 0.0
    skipped = best_sum(affinity[1:])
    taken = [affinity[0, j] + best_sum(np.delete(affinity[1:], j, 1)) for j in range(affinity.shape[1])]
    return max([skipped, *taken])


def smoothed(values, alpha):
    """The exponential mean of values, the first of which begins it: each counts alpha (1 - alpha)^age."""
    first, *rest = values
    total = first * (1 - alpha) ** len(rest)
    return total + sum(alpha * (1 - alpha) ** (len(rest) - 1 - i) * v for i, v in enumerate(rest))


def shifted(mask, dx, dy):
    """A mask (H, W) moved pixel by pixel."""
    out = np.zeros_like(mask)
    for y, x in zip(*np.nonzero(mask), strict=True):
        if 0 <= y + dy < mask.shape[0] and 0 <= x + dx < mask.shape[1]:
            out[y + dy, x + dx] = True
    return out
