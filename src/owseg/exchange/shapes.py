"""Polygons and images of masks in annotations, which are refused where they do not fit, or are too many."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from owseg.data.decoding import load_image
from owseg.data.masks import Rle, check_size
from owseg.errors import OwsegError

MAX_OUTLINE = 1 << 24
"""The length in pixels that the outlines in one image may have together: to fill them takes 40 bytes a pixel."""

MAX_DRAWN = 1 << 30
"""The pixels that the boxes of all masks in one image may have together."""


@dataclass
class Canvas:
    """An image called ``image`` of ``size`` (H, W) that shapes are drawn on; what all of them take is bounded.

    Its methods raise ``OwsegError`` for a shape that does not fit, and for more than ``MAX_OUTLINE`` or ``MAX_DRAWN``.
    In its sentence a shape is ``what``, such as "car in a.jpg".
    """

    image: str
    size: tuple[int, int]
    outline: float = 0
    drawn: int = 0

    def polygon(self, polygon: Sequence[float], what: str) -> Rle:
        """Return the inside of a polygon x, y, x, y, ..., as the COCO API draws it; see ``corners``."""
        return Rle.of_polygon(self.corners(polygon, what).ravel().tolist(), self.size)

    def corners(self, polygon: Sequence[float], what: str) -> np.ndarray:
        """Return the corners (n, 2) of a polygon x, y, x, y, ...

        It does not fit if it has fewer than three corners, NaN or infinity, or a corner farther outside of the image
        than that is large: to draw it could take any amount of memory.
        """
        points = np.asarray(polygon, np.float64)
        if points.ndim != 1 or len(points) % 2 or len(points) < 6:
            raise OwsegError(
                f"{what} is not a polygon of three corners or more, with two coordinates each; correct or remove it."
            )
        points, far = points.reshape(-1, 2), np.array([self.size[1], self.size[0]])
        # Corners somewhat outside are left to the filling, which cuts: tools let people drag them there.
        if not np.isfinite(points).all() or (points < -far).any() or (points > 2 * far).any():
            raise OwsegError(f"{what} is outside its image of {self.size[1]}x{self.size[0]}; correct or remove it.")
        self.outline += float(np.abs(points - np.roll(points, 1, axis=0)).max(1).sum())
        if self.outline > MAX_OUTLINE:
            raise self._too_much()
        return points

    def box(self, top: int, left: int, height: int, width: int, what: str) -> None:
        """Count a mask that is drawn in a box; it does not fit if it leaves the image."""
        check_size(height, width)
        if top < 0 or left < 0 or top + height > self.size[0] or left + width > self.size[1]:
            raise OwsegError(f"{what} is outside its image of {self.size[1]}x{self.size[0]}; correct or remove it.")
        self.drawn += height * width
        if self.drawn > MAX_DRAWN:
            raise self._too_much()

    def _too_much(self) -> OwsegError:
        return OwsegError(f"the shapes in {self.image} are more than are drawn in one image; remove some.")


def open_mask_image(data: bytes) -> Image.Image:
    """Return a mask from the bytes of its image file; raises what ``load_image`` raises."""
    return load_image(io.BytesIO(data), name="a mask")
