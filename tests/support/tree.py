"""A small data set on disk, and what was written into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from owseg.labels import IGNORE, KNOWN

SIZE = (6, 9)


@dataclass
class Tree:
    """What was written: by split and frame the image, the mask or None, and the class name of each pixel."""

    root: Path
    frames: dict[str, dict[str, tuple[Path, Path | None, np.ndarray]]] = field(default_factory=dict)
    bad_value: int | tuple[int, int, int] = 200

    def add(self, split: str, id: str, image: str, mask: str | None, meaning: Mapping[Any, str]) -> None:
        """Write a frame whose mask shows every raw value of ``meaning``."""
        seed = sum(len(f) for f in self.frames.values())
        rng = np.random.default_rng(seed)
        size = (max(SIZE[0], -(-len(meaning) // SIZE[1])), SIZE[1])
        save(self.root / image, rng.integers(0, 256, (*size, 3)))
        values = rng.permutation(np.resize(np.arange(len(meaning)), size).ravel()).reshape(size)
        raw, classes = np.array(list(meaning)), np.array(list(meaning.values()), object)
        if mask is not None:
            save(self.root / mask, raw[values])
        path = None if mask is None else self.root / mask
        self.frames.setdefault(split, {})[id] = (self.root / image, path, classes[values])

    def ids(self, split: str, id: str, names: tuple[str, ...]) -> np.ndarray:
        """Return the mask of a frame as it should be read, in the ids of the classes ``names``."""
        special = {"void": IGNORE, "known": KNOWN}
        classes = self.frames[split][id][2]
        return np.vectorize(lambda n: special[n] if n in special else names.index(n), otypes=[np.uint8])(classes)

    def a_mask(self) -> tuple[str, Path]:
        """Return a split with a mask, and the mask."""
        return next((s, m) for s, frames in self.frames.items() for _, m, _ in frames.values() if m is not None)

    def an_image(self) -> tuple[str, Path]:
        """Return a split and an image in it that has a mask."""
        return next((s, p) for s, frames in self.frames.items() for p, m, _ in frames.values() if m is not None)


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"lossless": True} if path.suffix == ".webp" else {"quality": 95} if path.suffix == ".jpg" else {}
    Image.fromarray(np.asarray(values, np.uint8)).save(path, **options)
