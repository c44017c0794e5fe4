"""Polygons and images of masks in annotations: pure functions that refuse what does not fit."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from owseg.data.decoding import load_image
from owseg.data.masks import Rle
from owseg.errors import OwsegError


def fill_polygon(polygon: Sequence[float], size: tuple[int, int], what: str) -> Rle:
    """Return the inside of a polygon x, y, x, y, ... in an image of ``size`` (H, W), as the COCO API draws it.

    Raises what ``check_polygon`` raises.
    """
    return Rle.of_polygon(check_polygon(polygon, size, what).ravel().tolist(), size)


def check_polygon(polygon: Sequence[float], size: tuple[int, int], what: str) -> np.ndarray:
    """Return the corners (n, 2) of a polygon x, y, x, y, ...

    Raises ``OwsegError`` for fewer than three, for NaN and infinity, and for corners farther outside the image than
    it is large: to draw those could take any amount of memory. It names ``what``, such as "car in a.jpg".
    """
    points = np.asarray(polygon, np.float64)
    if points.ndim != 1 or len(points) % 2 or len(points) < 6:
        raise OwsegError(
            f"{what} is not a polygon of three corners or more, with two coordinates each; correct or remove it."
        )
    points, far = points.reshape(-1, 2), np.array([size[1], size[0]])
    # Corners somewhat outside are left to the filling, which cuts: tools let people drag them there.
    if not np.isfinite(points).all() or (points < -far).any() or (points > 2 * far).any():
        raise OwsegError(f"{what} is outside its image of {size[1]}x{size[0]}; correct or remove it.")
    return points


def open_mask_image(data: bytes) -> Image.Image:
    """Return a mask from the bytes of its image file; raises what ``load_image`` raises."""
    return load_image(io.BytesIO(data), name="a mask")
