"""Masks as polygons and as image files: pure functions that refuse what does not fit."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, UnidentifiedImageError
from pycocotools import mask as coco

from owseg.data.masks import check_size
from owseg.errors import OwsegError


def filled(polygon: Sequence[float], size: tuple[int, int], what: str) -> np.ndarray:
    """Return the inside of a polygon x, y, x, y, ... as a mask (H, W) bool, as the COCO API draws it.

    ``what`` it outlines is named where ``check_polygon`` refuses it.
    """
    outline = check_polygon(polygon, size, what).ravel().tolist()
    return coco.decode(coco.frPyObjects([outline], *size))[:, :, 0].astype(bool)


def check_polygon(polygon: Sequence[float], size: tuple[int, int], what: str) -> np.ndarray:
    """Return the corners (n, 2) of a polygon x, y, x, y, ...

    Raises ``OwsegError`` for fewer than three, for what is no number, and for corners farther outside the image than
    it is large: to draw those could take any amount of memory. It names ``what``, such as "car in a.jpg".
    """
    points = np.asarray(polygon, np.float64)
    if points.ndim != 1 or len(points) % 2 or len(points) < 6:
        raise OwsegError(f"{what} is no polygon of three corners or more, of two coordinates each; mend or remove it.")
    points, far = points.reshape(-1, 2), np.array([size[1], size[0]])
    if not np.isfinite(points).all() or (points < -far).any() or (points > 2 * far).any():
        raise OwsegError(f"{what} lies outside its image of {size[1]}x{size[0]}; mend or remove it.")
    return points


def open_picture(data: bytes) -> Image.Image:
    """Return an image from its file's bytes; raise ``OwsegError`` if it is none, or too large."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            check_size(image.height, image.width)
            image.load()
            return image
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise OwsegError(f"a mask cannot be read as an image ({error}).") from None
