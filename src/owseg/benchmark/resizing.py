"""Images at the size that a recipe asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from PIL import Image

T = TypeVar("T")


def at_size(function: Callable[..., T], size: tuple[int, int] | None) -> Callable[..., T]:
    """Return a ``Forward`` or ``ImageScorer`` of the image resized to ``size`` (H, W); None keeps the size."""
    return function if size is None else lambda image, *scale: function(resized(image, size), *scale)


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return an image (3, H, W) uint8 at ``size`` (H, W): bilinear, with antialiasing where it shrinks."""
    # Pillow's resizing is the same on every machine; torch's differs in the last bits.
    pixels = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    scaled = np.asarray(pixels.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def distorts(image: np.ndarray, size: tuple[int, int]) -> bool:
    """Return whether ``size`` (H, W) changes the aspect ratio of an image (3, H, W) by 5 % or more."""
    (height, width), (new_height, new_width) = image.shape[1:], size
    return bool(abs(np.log(new_width / new_height * height / width)) >= 0.05)  # the same for wider and for narrower
