"""Masks as run lengths, as polygons and as pictures: pure functions that refuse what does not fit."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError
from pycocotools import mask as coco

from owseg.errors import OwsegError

MAX_PIXELS = 1 << 27
"""No picture has more pixels than this (134 million); a file that says so is broken, or meant to fill the memory."""

Rle: TypeAlias = dict[str, Any]
"""A mask as pycocotools packs it: ``size`` [H, W] and ``counts``, compressed column-major run lengths in bytes."""


def check_size(height: object, width: object) -> tuple[int, int]:
    """Return (height, width) if they are those of a picture; raise ``OwsegError`` otherwise."""
    for side in (height, width):
        if not isinstance(side, int) or isinstance(side, bool) or side < 1:
            raise OwsegError(f"a picture cannot be {width!r} wide and {height!r} high.")
    assert isinstance(height, int) and isinstance(width, int)
    if height * width > MAX_PIXELS:
        raise OwsegError(f"a picture of {width}x{height} is larger than this program reads ({MAX_PIXELS} pixels).")
    return height, width


def packed(mask: np.ndarray) -> Rle:
    """Return (H, W) bool as pycocotools packs it."""
    return coco.encode(np.asfortranarray(mask, np.uint8))


def unpacked(rle: Rle) -> np.ndarray:
    """Return the mask (H, W) bool that ``packed`` gave. Not for run lengths from elsewhere: they are not checked."""
    return coco.decode(rle).astype(bool)


def union(*rles: Rle) -> Rle:
    """Return the packed mask of the pixels that any of the packed masks holds."""
    return coco.merge(list(rles))


def runs_of(mask: np.ndarray) -> list[int]:
    """Return the row-major run lengths of (H, W) bool: off, on, off, ...; the first may be 0. They sum to H W."""
    flat = mask.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    return np.diff(edges, prepend=0, append=flat.size).tolist()


def mask_of(runs: Sequence[int], size: tuple[int, int], order: Literal["C", "F"] = "C") -> np.ndarray:
    """Return the mask (H, W) bool of run lengths (off, on, off, ...), row-major ("C") or column-major ("F").

    Raises ``OwsegError`` for what is no run length, and for runs that do not fill the picture exactly.
    """
    if not all(type(r) is int and r >= 0 for r in runs):
        raise OwsegError("run lengths are integers from 0.")
    if (total := sum(runs)) != size[0] * size[1]:
        raise OwsegError(f"run lengths of {total} pixels do not fit {size[1]}x{size[0]}.")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size, order=order)


def filled(polygon: Sequence[float], size: tuple[int, int], what: str) -> np.ndarray:
    """Return the inside of a polygon x, y, x, y, ... as a mask (H, W) bool, as the COCO API draws it.

    ``what`` it outlines is named where ``check_polygon`` refuses it.
    """
    outline = check_polygon(polygon, size, what).ravel().tolist()
    return coco.decode(coco.frPyObjects([outline], *size))[:, :, 0].astype(bool)


def check_polygon(polygon: Sequence[float], size: tuple[int, int], what: str) -> np.ndarray:
    """Return the corners (n, 2) of a polygon x, y, x, y, ...

    Raises ``OwsegError`` for fewer than three, for what is no number, and for corners farther outside the picture than
    it is large: to draw those could take any amount of memory. It names ``what``, such as "car in a.jpg".
    """
    points = np.asarray(polygon, np.float64)
    if points.ndim != 1 or len(points) % 2 or len(points) < 6:
        raise OwsegError(f"{what} is no polygon of three corners or more, of two coordinates each; mend or remove it.")
    points, far = points.reshape(-1, 2), np.array([size[1], size[0]])
    if not np.isfinite(points).all() or (points < -far).any() or (points > 2 * far).any():
        raise OwsegError(f"{what} lies outside its picture of {size[1]}x{size[0]}; mend or remove it.")
    return points


def open_picture(data: bytes) -> Image.Image:
    """Return a picture from its file's bytes; raise ``OwsegError`` if it is none, or too large."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            check_size(image.height, image.width)
            image.load()
            return image
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise OwsegError(f"a mask cannot be read as a picture ({error}).") from None
