"""Masks as run lengths, checked where they come from elsewhere: pure functions on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as coco

from owseg.errors import OwsegError

MAX_PIXELS = 1 << 26
"""No image or mask of more pixels than this (67 million, such as 8192x8192) is read: a pass takes 130 bytes each."""


@dataclass(frozen=True)
class Rle:
    """A mask of ``size`` (H, W) as run lengths; masks that are equal are equal values.

    ``code`` is COCO's compressed form of the run lengths, one to three bytes each: small enough to keep thousands of
    masks in memory. It is made by this class alone, as pycocotools does not check what it decodes.
    """

    size: tuple[int, int]
    code: bytes = field(repr=False)

    @classmethod
    def of(cls, mask: np.ndarray) -> Rle:
        """Return the run lengths of ``mask`` (H, W) bool."""
        # pycocotools takes arrays in column-major order only.
        return cls._from_coco(coco.encode(np.asfortranarray(mask, np.uint8)))

    @classmethod
    def of_polygon(cls, corners: Sequence[float], size: tuple[int, int]) -> Rle:
        """Return the inside of the polygon x, y, x, y, ... in pixels, as the COCO API draws it."""
        return cls._from_coco(coco.frPyObjects([list(corners)], *size)[0])

    @classmethod
    def placed(cls, inside: np.ndarray, top: int, left: int, size: tuple[int, int]) -> Rle:
        """Return the mask of ``size`` that is ``inside`` (h, w) bool in a box of it, and off elsewhere.

        The work is that of the box, however large the mask is.
        """
        edges = np.diff(np.pad(inside, ((1, 1), (0, 0))).astype(np.int8), axis=0) != 0  # (h + 1, w), along columns
        columns, rows = np.nonzero(edges.T)
        return cls._from_edges((left + columns) * size[0] + top + rows, size)

    @classmethod
    def from_counts(cls, counts: Sequence[int], size: tuple[int, int]) -> Rle:
        """Return the mask of ``size`` whose run lengths, column by column and off first, are ``counts``.

        Raises ``OwsegError`` for other values than integers from 0, and for runs that do not fill the mask exactly.
        """
        _check_runs(counts, size)
        if all(counts[1:]):  # as is usual: no run to join with its neighbours
            return cls._from_coco(coco.frPyObjects({"size": list(size), "counts": list(counts)}, *size))
        return cls._from_edges(np.cumsum(counts, dtype=np.int64)[:-1], size)

    @classmethod
    def from_code(cls, code: bytes, size: tuple[int, int]) -> Rle:
        """Return the mask of ``size`` whose ``code`` this is; raise ``OwsegError`` as ``from_counts`` does."""
        return cls.from_counts(decode_counts(code.decode("latin-1")), size)

    @classmethod
    def _from_edges(cls, ends: np.ndarray, size: tuple[int, int]) -> Rle:
        """Return the mask that changes between off and on at each of ``ends``, column by column."""
        # A run of length 0 joins its neighbours: the positions where it starts and ends cancel.
        ends, times = np.unique(ends, return_counts=True)
        edges = ends[(times % 2 == 1) & (ends < size[0] * size[1])]
        runs = np.diff(edges, prepend=0, append=size[0] * size[1]).tolist()
        return cls._from_coco(coco.frPyObjects({"size": list(size), "counts": runs}, *size))

    @classmethod
    def _from_coco(cls, rle: dict[str, Any]) -> Rle:
        height, width = rle["size"]
        return cls((int(height), int(width)), bytes(rle["counts"]))

    def _to_coco(self) -> dict[str, Any]:
        return {"size": list(self.size), "counts": self.code}

    @property
    def counts(self) -> tuple[int, ...]:
        """The run lengths, column by column: off, on, off, ...; the first may be 0, and ``sum(counts) = H W``."""
        return tuple(decode_counts(self.code.decode("ascii")))

    @property
    def area(self) -> int:
        """The number of pixels in the mask."""
        return int(coco.area(self._to_coco()))

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The bounding box: left, top, width, height in pixels; all 0 for a mask without a pixel."""
        left, top, width, height = (int(v) for v in coco.toBbox(self._to_coco()))
        return left, top, width, height

    def mask(self) -> np.ndarray:
        """Return the mask, (H, W) bool."""
        decoded: np.ndarray = coco.decode(self._to_coco())  # uint8, 0 and 1
        return decoded.view(bool)

    def union(self, *others: Rle) -> Rle:
        """Return the pixels that this mask or any of ``others``, of the same size, holds."""
        parts = [rle._to_coco() for rle in (self, *others)]
        # In pairs: one after another, each would be merged with all that came before it.
        while len(parts) > 1:
            parts = [coco.merge(parts[i : i + 2]) for i in range(0, len(parts), 2)]
        return self._from_coco(parts[0])

    def within(self, other: Rle) -> bool:
        """Return whether ``other``, of the same size, holds every pixel of this mask; the work is that of the runs."""
        both = coco.merge([self._to_coco(), other._to_coco()], intersect=True)
        return int(coco.area(both)) == self.area

    def to_json(self) -> dict[str, Any]:
        """Return ``{"size": [H, W], "counts": [...]}``, as COCO's tools read it.

        The counts are not compressed: nothing tells a reader that a string of the compressed form is cut off.
        """
        return {"size": list(self.size), "counts": list(self.counts)}

    @classmethod
    def from_json(cls, value: Any, size: tuple[int, int]) -> Rle:
        """Read what ``to_json`` wrote of a mask of ``size``; raise ``OwsegError`` for anything else."""
        try:
            if all(type(side) is int for side in value["size"]) and tuple(value["size"]) == tuple(size):
                return cls.from_counts(value["counts"], size)
        except (TypeError, KeyError, OwsegError):
            pass
        raise OwsegError(
            f"these run lengths are not those of a mask of {size[1]}x{size[0]}; give COCO's uncompressed ones."
        )


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the IoU of each of n boxes with each of m, (n, m) float64; a box is x, y, width, height."""
    iou = coco.iou(np.asarray(a, np.float64), np.asarray(b, np.float64), [False] * len(b))
    return np.reshape(iou, (len(a), len(b)))  # of no boxes it is an empty list


def decode_counts(text: str) -> list[int]:
    """Return the run lengths of COCO's compressed string; raise ``OwsegError`` for any other string.

    A number is written in groups of five bits, least first, each as the character 48 + group + 32 (if more follow);
    the last group's highest bit is the sign. From the fourth on, a number is the difference to the run two before.
    (pycocotools, which wrote it, reads past the end of a string that is cut.)
    """
    runs: list[int] = []
    value = shift = 0
    for group in (ord(c) - 48 for c in text):
        if not 0 <= group < 64 or shift > 60:  # a number of more groups would grow without bound
            raise OwsegError("a compressed mask holds something other than run lengths.")
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            value -= (1 << shift) if group & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise OwsegError("a compressed mask is cut off.")
    return runs


def encode_rows(mask: np.ndarray) -> list[int]:
    """Return the row-major run lengths of (H, W) bool: off, on, off, ...; the first may be 0. They sum to H W."""
    flat = mask.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False))  # where the value changes, the first pixel against off
    runs: list[int] = np.diff(edges, prepend=0, append=flat.size).tolist()
    return runs


def decode_rows(runs: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Return the mask (H, W) bool of row-major run lengths (off, on, off, ...).

    Raises ``OwsegError`` for other values than integers from 0, and for runs that do not fill the mask exactly.
    """
    _check_runs(runs, size)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size)


def check_size(height: object, width: object) -> tuple[int, int]:
    """Return (height, width) if they are those of an image; raise ``OwsegError`` otherwise."""
    for side in (height, width):
        if not isinstance(side, int) or isinstance(side, bool) or side < 1:
            raise OwsegError(f"an image cannot be {width!r} wide and {height!r} high.")
    assert isinstance(height, int) and isinstance(width, int)
    if height * width > MAX_PIXELS:
        much = f"an image of {width}x{height} is larger than {MAX_PIXELS:,} pixels"
        raise OwsegError(f"{much}; cut it into parts, or make it smaller.")
    return height, width


def _check_runs(runs: Sequence[int], size: tuple[int, int]) -> None:
    # Not isinstance: True is an int, too.
    if not {*map(type, runs)} <= {int} or min(runs, default=0) < 0:
        raise OwsegError("run lengths are integers from 0.")
    if (total := sum(runs)) != size[0] * size[1]:
        raise OwsegError(f"run lengths of {total} pixels do not fit {size[1]}x{size[0]}.")
