"""Annotations of the tiny images, as a labelling tool would give them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from owseg.exchange.annotation import Annotation
from tests.support import tiny

ROCK, COW = 3, 4


def annotations() -> list[Annotation]:
    """Rocks and cows in two images, void in the first, and a cow in a third image that is not at hand."""
    made = []
    for i, sample in enumerate(tiny.dataset(2, 5)):
        assert sample.target is not None
        for name, label in (("rock", ROCK), ("cow", COW), ("void", 0)):
            if name != "void" or i == 0:
                made.append(Annotation(name, sample.target == label, f"f{i}.png", (9 + label, 8, 7)))
    return [*made, Annotation("cow", np.ones((4, 4), bool), "elsewhere.png")]


def write_images(folder: Path) -> Path:
    """Write two images, f0.png and f1.png, that show a rock and a cow, and return the folder."""
    folder.mkdir()
    for i, sample in enumerate(tiny.dataset(2, 5)):
        Image.fromarray(sample.image.transpose(1, 2, 0)).save(folder / f"f{i}.png")
    return folder
