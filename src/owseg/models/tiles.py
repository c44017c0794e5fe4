"""A large image in overlapping tiles, whose outputs are put together: its small things at their own size.

Tiles are spread evenly and blended. Sliding windows, in which closed-set mIoU is often published (RPL's code: windows
of 1024 pixels, a third of that apart, each also mirrored), are the same with a step of their own and equal weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields

import torch
from torch import Tensor

from owseg.errors import OwsegError
from owseg.types import Output

ALIGN = 32
"""Tiles begin at multiples of the coarsest stride of a pyramid, so that the cells of all stages coincide.

A tile has at least two such cells a side, one of which may overlap the next tile.
"""

OVERLAP = 4
"""A tile overlaps the next by at least one in ``OVERLAP`` of its side."""


def tiled(run: Callable[[Tensor], Output], image: Tensor, side: int, step: int | None = None) -> Output:
    """Return the output of ``run`` for ``image`` (1, 3, H, W), made of those for tiles of at most ``side`` pixels.

    Where tiles overlap each map is a weighted mean: a tile's weight falls linearly from its centre to its edges, where
    it lacks what surrounds it. With ``step`` they are sliding windows, so many pixels apart, and the mean is not
    weighted. An image within one tile is run as it is. Raises ``OwsegError`` for a map whose stride is no power of 2.
    """
    height, width = image.shape[-2:]
    if len(spans(height, side, step)) == len(spans(width, side, step)) == 1:
        return run(image)
    # Of each map of the output: the weighted sum, and the sum of the weights.
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    for top, bottom in spans(height, side, step):
        for left, right in spans(width, side, step):
            part = image[..., top:bottom, left:right].contiguous(memory_format=torch.channels_last)
            for name, tile in _maps(run(part)):
                down, across = _stride(bottom - top, tile.shape[-2]), _stride(right - left, tile.shape[-1])
                if name not in sums:
                    whole = (-(-height // down), -(-width // across))
                    sums[name] = tile.new_zeros((*tile.shape[:-2], *whole)), tile.new_zeros(whole)
                total, weights = sums[name]
                rows = slice(top // down, top // down + tile.shape[-2])
                columns = slice(left // across, left // across + tile.shape[-1])
                weight = _ramp(tile, -2)[:, None] * _ramp(tile, -1)
                if step is not None:
                    weight = torch.ones_like(weight)
                total[..., rows, columns] += weight * tile
                weights[rows, columns] += weight
    return _output({name: total / weights for name, (total, weights) in sums.items()})


def windowed(run: Callable[[Tensor], Output], image: Tensor, side: int) -> Output:
    """Return the output of ``run`` for ``image`` (1, 3, H, W) as RPL's code evaluates a closed set.

    The mean over sliding windows of ``side`` pixels, a third of that apart, and over each window's mirror image.
    Windows begin at multiples of ``ALIGN``, where that code takes any pixel, so that the outputs of a network can be
    added cell by cell. Raises what ``tiled`` does.
    """

    def both(part: Tensor) -> Output:
        mirrored = _maps(run(part.flip(-1).contiguous(memory_format=torch.channels_last)))
        pairs = zip(_maps(run(part)), mirrored, strict=True)
        return _output({name: (straight + back.flip(-1)) / 2 for (name, straight), (_, back) in pairs})

    return tiled(both, image, side, step=-(-side // 3))


def spans(length: int, side: int, step: int | None = None) -> list[tuple[int, int]]:
    """Return the (start, end) of tiles that cover ``length`` pixels: evenly spread, or ``step`` pixels apart.

    Each has at most ``side`` pixels, or 2 ``ALIGN`` where ``side`` is less. With ``step`` the last ends at the edge,
    however far it is from the one before.
    """
    if length <= max(side, 2 * ALIGN):
        return [(0, length)]
    side = max(2 * ALIGN, side // ALIGN * ALIGN)
    if step is None:
        count = 1 + -(-(length - side) // (side - max(ALIGN, side // OVERLAP)))
        # Rounded up: the last tile then ends at the image's edge, or has up to ALIGN - 1 pixels less.
        starts = [-(-(length - side) * i // ((count - 1) * ALIGN)) * ALIGN for i in range(count)]
    else:
        exact = (min(i * step, length - side) for i in range(1 + -(-(length - side) // step)))
        starts = list(dict.fromkeys(-(-start // ALIGN) * ALIGN for start in exact))
    return [(start, min(start + side, length)) for start in starts]


def _stride(pixels: int, cells: int) -> int:
    """Return the stride, a power of 2 up to ``ALIGN``, at which so many pixels have so many cells."""
    for stride in (ALIGN >> k for k in range(ALIGN.bit_length())):
        if -(-pixels // stride) == cells:
            return stride
    raise OwsegError(f"this network cannot be run in tiles: it has {cells} cells in {pixels} pixels.")


def _ramp(tile: Tensor, axis: int) -> Tensor:
    """Return weights along an axis: 1 at its ends, and one more for each cell towards the middle."""
    cells = torch.arange(tile.shape[axis], device=tile.device, dtype=tile.dtype)
    return 1 + torch.minimum(cells, cells.flip(0))


def _maps(output: Output) -> Iterator[tuple[str, Tensor]]:
    """Yield each map of ``output`` (1, ..., h, w) with its name; stages of the pyramid by their number."""
    for field in fields(output):
        value = getattr(output, field.name)
        if field.name == "features":
            yield from ((str(i), stage) for i, stage in enumerate(value))
        elif value is not None:
            yield field.name, value


def _output(maps: dict[str, Tensor]) -> Output:
    """Return the output of which ``_maps`` yields ``maps``."""
    stages = tuple(value for name, value in maps.items() if name.isdigit())
    return Output(stages, **{name: value for name, value in maps.items() if not name.isdigit()})
