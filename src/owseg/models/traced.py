"""Sizes that may be tensors: while a graph is traced for an export, the size of an image is one, and has no value.

Code that asks such a size for its value compiles, and is wrong for every other size: the answer for one size is then in
the graph. What is here says the same without asking.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

BLOCK = 32
"""So many rows of a shrunken image are computed by one product (see ``shrunken``)."""


def is_traced() -> bool:
    """Return whether a graph is being traced: sizes may then be tensors."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing


def surely(condition: bool | Tensor) -> bool:
    """Return whether a ``condition`` of sizes holds, whatever these are: of numbers, the condition itself."""
    return condition if isinstance(condition, bool) else False


def smallest(a: int, b: int) -> int:
    """Return the lesser of two sizes."""
    return cast(int, torch.minimum(_tensor(a), _tensor(b))) if _any_traced(a, b) else min(a, b)


def largest(a: int, b: int) -> int:
    """Return the greater of two sizes."""
    return cast(int, torch.maximum(_tensor(a), _tensor(b))) if _any_traced(a, b) else max(a, b)


def ceiled(size: int, factor: float) -> int:
    """Return ``size`` times ``factor``, rounded up."""
    return cast(int, (_tensor(size).double() * factor).ceil().long()) if _any_traced(size) else math.ceil(size * factor)


def rounded(dividend: int, divisor: int) -> int:
    """Return the whole number nearest to a quotient of two, none negative; half-way between two it is the even one."""
    return (2 * dividend + divisor - 1 + dividend // divisor % 2) // (2 * divisor)


def has_size(maps: Tensor, size: tuple[int, int]) -> bool:
    """Return whether maps (B, C, h, w) are surely of ``size`` (h, w)."""
    return surely(maps.shape[-2] == size[0]) and surely(maps.shape[-1] == size[1])


def shrunken(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images (B, C, H, W) at ``size`` (h, w): bilinear without aliasing, as ``F.interpolate(antialias=True)``.

    Made of products with the filter's weights, since runtimes differ in what they take antialiasing to be.
    """
    rows = _shrunken_rows(images, size[0])
    return _shrunken_rows(rows.transpose(-1, -2), size[1]).transpose(-1, -2)


def adaptive_mean(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps (B, C, H, W) at ``size`` (h, w), each cell the mean of those that it covers."""
    down, across = (_means(inside, out) for inside, out in zip(maps.shape[-2:], size, strict=True))
    return down @ maps @ across.T


def _shrunken_rows(images: Tensor, rows: int) -> Tensor:
    """Return images (B, C, H, W) with ``rows`` rows."""
    inside = images.shape[-2]
    count = (rows + BLOCK - 1) // BLOCK
    # Rows of the image for a block of new ones, and the reach of the filter on either side.
    reach = largest((inside + rows - 1) // rows, 1)
    length = (BLOCK * inside + rows - 1) // rows + 2 * reach + 2
    blocks = _numbers(count)
    starts = blocks * BLOCK * inside // rows - reach - 1
    taps = starts[:, None] + _numbers(length)
    # In numbers of half a row, whole ones, so that no runtime rounds a place: 2 (i + 1/2) H / h is the centre of row i.
    new = blocks[:, None] * BLOCK + torch.arange(BLOCK)
    centres = (2 * new + 1) * inside
    away = ((2 * taps[:, None] + 1) * rows - centres[:, :, None]).abs()
    weights = (1 - away.float() / (2 * largest(inside, rows))).clamp(min=0)
    weights = weights * ((taps >= 0) & (taps < inside))[:, None]
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-6)  # rows beyond the last have none
    parts = images[:, :, taps.clamp(min=0).clamp(max=inside - 1)]
    found = weights.to(images.device) @ parts
    return found.flatten(2, 3)[:, :, :rows]


def _means(inside: int, out: int) -> Tensor:
    """Return the weights (out, inside) of the means over ``out`` spans, which together cover ``inside`` cells."""
    spans, cells = _numbers(out), _numbers(inside)
    starts, ends = spans * inside // out, ((spans + 1) * inside + out - 1) // out
    member = (cells >= starts[:, None]) & (cells < ends[:, None])
    return member.float() / (ends - starts)[:, None]


def _any_traced(*sizes: int) -> bool:
    return any(isinstance(size, Tensor) for size in sizes)


def _numbers(count: int) -> Tensor:
    """Return the whole numbers from 0 to below ``count``."""
    return torch.arange(count)


def _tensor(size: int) -> Tensor:
    return size if isinstance(size, Tensor) else torch.tensor(size)
