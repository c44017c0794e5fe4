"""Masks as run lengths, checked where they come from elsewhere: pure functions on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from pycocotools import mask as coco

from owseg.errors import OwsegError

MAX_PIXELS = 1 << 27
"""No image has more pixels than this (134 million); a file that says so is broken, or meant to fill the memory."""


PackedMask: TypeAlias = dict[str, Any]
"""A mask as pycocotools packs it: ``size`` [H, W] and ``counts``, compressed column-major run lengths in bytes."""


def check_size(height: object, width: object) -> tuple[int, int]:
    """Return (height, width) if they are those of an image; raise ``OwsegError`` otherwise."""
    for side in (height, width):
        if not isinstance(side, int) or isinstance(side, bool) or side < 1:
            raise OwsegError(f"an image cannot be {width!r} wide and {height!r} high.")
    assert isinstance(height, int) and isinstance(width, int)
    if height * width > MAX_PIXELS:
        raise OwsegError(f"an image of {width}x{height} is larger than this program reads ({MAX_PIXELS} pixels).")
    return height, width


def packed(mask: np.ndarray) -> PackedMask:
    """Return (H, W) bool as pycocotools packs it."""
    return coco.encode(np.asfortranarray(mask, np.uint8))


def unpacked(rle: PackedMask) -> np.ndarray:
    """Return the mask (H, W) bool that ``packed`` gave. Not for run lengths from elsewhere: they are not checked."""
    return coco.decode(rle).astype(bool)


def union(*rles: PackedMask) -> PackedMask:
    """Return the packed mask of the pixels that any of the packed masks holds."""
    return coco.merge(list(rles))


def runs_of(mask: np.ndarray) -> list[int]:
    """Return the row-major run lengths of (H, W) bool: off, on, off, ...; the first may be 0. They sum to H W."""
    flat = mask.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    return np.diff(edges, prepend=0, append=flat.size).tolist()


def mask_of(runs: Sequence[int], size: tuple[int, int], order: Literal["C", "F"] = "C") -> np.ndarray:
    """Return the mask (H, W) bool of run lengths (off, on, off, ...), row-major ("C") or column-major ("F").

    Raises ``OwsegError`` for what is no run length, and for runs that do not fill the image exactly.
    """
    if not all(type(r) is int and r >= 0 for r in runs):
        raise OwsegError("run lengths are integers from 0.")
    if (total := sum(runs)) != size[0] * size[1]:
        raise OwsegError(f"run lengths of {total} pixels do not fit {size[1]}x{size[0]}.")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size, order=order)


@dataclass(frozen=True)
class Rle:
    """A mask (H, W) as COCO's uncompressed run lengths: column by column, off first, ``sum(counts) = H W``.

    The compressed form says the same in fewer bytes, but nothing tells a reader that a string of it is torn.
    """

    size: tuple[int, int]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, mask: np.ndarray) -> Rle:
        """Return the run lengths of ``mask`` (H, W) bool."""
        flat = np.asarray(mask, bool).ravel(order="F")
        ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        runs = np.diff(np.concatenate([[0], ends, [flat.size]]))
        first = [0] if flat.size and flat[0] else []
        return cls((mask.shape[0], mask.shape[1]), (*first, *map(int, runs)))

    def mask(self) -> np.ndarray:
        """Return the mask, (H, W) bool."""
        on = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(on, self.counts).reshape(self.size, order="F")

    @property
    def area(self) -> int:
        """How many pixels are on."""
        return sum(self.counts[1::2])

    def to_json(self) -> dict[str, Any]:
        """Return ``{"size": [H, W], "counts": [...]}``, as COCO's tools read it."""
        return {"size": list(self.size), "counts": list(self.counts)}

    @classmethod
    def from_json(cls, value: Any, size: tuple[int, int]) -> Rle:
        """Read what ``to_json`` wrote of a mask of ``size``; raise ``OwsegError`` for anything else."""
        try:
            rle = cls((value["size"][0], value["size"][1]), tuple(value["counts"]))
            whole = all(type(n) is int and n >= 0 for n in (*rle.size, *rle.counts))
            if whole and rle.size == tuple(size) and sum(rle.counts) == size[0] * size[1]:
                return rle
        except (TypeError, KeyError, IndexError):
            pass
        raise OwsegError(f"these run lengths are no mask of {size[1]}x{size[0]}; give COCO's uncompressed ones.")
