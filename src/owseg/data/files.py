"""The images and masks of a source as files; unlike any other function that reads, they can be divided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from owseg.data.images import read_image, read_mask


@dataclass(frozen=True, eq=False)
class Files:
    """A ``Source.read`` of files: image ``i``, and its target, ``decode(masks[i])``, where it has a mask."""

    images: Sequence[Path] = field(repr=False)
    masks: Sequence[Path | None] = field(repr=False)
    decode: Callable[[Path], np.ndarray] = read_mask

    def __call__(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Read image ``i`` (3, H, W) uint8 and its target (H, W) uint8."""
        mask = self.masks[i]
        # Masks are stored as the image is, without its EXIF tag.
        return read_image(self.images[i], upright=mask is None), None if mask is None else self.decode(mask)

    def pick(self, numbers: Sequence[int]) -> Files:
        """Return those of ``numbers``, in that order, which hold no path of the others."""
        return replace(self, images=[self.images[i] for i in numbers], masks=[self.masks[i] for i in numbers])
