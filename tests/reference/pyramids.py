"""Pyramids of transformers' models in NumPy and float64: what their hidden states become, without a line of owseg."""

from __future__ import annotations

import numpy as np


def bilinear(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Interpolate (..., h, w) to ``size``; the centres of pixels are at half-integers, beyond the edge it is flat."""
    for axis, out in ((-2, size[0]), (-1, size[1])):
        inside = maps.shape[axis]
        at = np.clip((np.arange(out) + 0.5) * inside / out - 0.5, 0, inside - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, inside - 1)
        part = (at - low)[:, None] if axis == -2 else at - low
        maps = np.take(maps, low, axis) * (1 - part) + np.take(maps, high, axis) * part
    return maps


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    """Normalise the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * weight + bias


def fitted(image: np.ndarray, multiple: int) -> np.ndarray:
    """Interpolate an image (..., H, W) to the nearest multiples of ``multiple``, the larger where two are as near."""
    sides = []
    for side in image.shape[-2:]:
        candidates = range(multiple, side + 2 * multiple, multiple)
        sides.append(min(candidates, key=lambda n: (abs(n - side), -n)))
    return bilinear(image.astype(np.float64), (sides[0], sides[1]))


def at_strides(maps: list[np.ndarray], size: tuple[int, int]) -> list[np.ndarray]:
    """Interpolate the four maps to the cells of 4, 8, 16 and 32 pixels that an image of ``size`` touches."""
    cells = [(len(range(0, size[0], s)), len(range(0, size[1], s))) for s in (4, 8, 16, 32)]
    return [bilinear(m, cell) for m, cell in zip(maps, cells, strict=True)]


def patches(tokens: np.ndarray, grid: tuple[int, int], left_out: int) -> np.ndarray:
    """Return tokens (B, n, C) as a map (B, C, h, w), without the first ``left_out``."""
    rows = tokens[:, left_out : left_out + grid[0] * grid[1]]
    return rows.reshape(len(tokens), *grid, -1).transpose(0, 3, 1, 2)
