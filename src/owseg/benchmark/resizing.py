"""Images at the size that a recipe asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image

from owseg.models.engine import Engine
from owseg.types import Output

T = TypeVar("T")


def at_size(function: Callable[..., T], size: tuple[int, int] | None) -> Callable[..., T]:
    """Return a ``Forward`` or ``ImageScorer`` of the image resized to ``size`` (H, W); None keeps the size."""
    return function if size is None else lambda image, *scale: function(resized(image, size), *scale)


@dataclass(frozen=True)
class AtSize:
    """An engine whose images are resized to ``size`` (H, W) first."""

    engine: Engine
    size: tuple[int, int]

    @property
    def batch_size(self) -> int:
        """The number of images that are run at once."""
        return self.engine.batch_size

    @property
    def threads(self) -> int:
        """The number of batches that are worked on at the same time."""
        return self.engine.threads

    def __call__(self, image: np.ndarray, scale: float = 1.0) -> Output:
        """Return the output for an image (3, H, W) uint8."""
        return self.engine(resized(image, self.size), scale)

    def run(self, images: Sequence[np.ndarray]) -> list[Output]:
        """Return the output for each of some images of one size."""
        return self.engine.run([resized(image, self.size) for image in images])


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
