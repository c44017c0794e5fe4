"""Masks that labelling tools have been known to spoil, and annotations of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from owseg.exchange.annotation import Annotation

NAMES = ["car", "Straße", "人 ", "<b>&\"'amp;</b>", "a:b", "#1", "void", "[bold]", "🛴", "a, b", "ʼ;\\/"]
"""Class names with what XML, JSON, a label map or a terminal may take for its own."""


def masks(size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The hard cases by name, each (H, W) bool."""
    rows, columns = np.indices(size)
    ring = np.zeros(size, bool)
    ring[1:-1, 1:-1] = True
    ring[3:-3, 3:-3] = False
    ring[size[0] // 2, size[1] // 2] = True  # an island in the hole
    corner = np.zeros(size, bool)
    corner[-1, -1] = True
    return {
        "empty": np.zeros(size, bool),
        "full": np.ones(size, bool),
        "first pixel": (rows == 0) & (columns == 0),
        "last pixel": corner,
        "holes": ring,
        "checkerboard": (rows + columns) % 2 == 0,
        "columns": columns % 3 == 0,
        "noise": np.random.default_rng(0).random(size) < 0.3,
    }


SIZE = st.tuples(st.integers(1, 9), st.integers(1, 12))


@st.composite
def annotation_lists(
    draw: st.DrawFn, names: list[str] = NAMES, overlap: bool = True, suffix: str = ".jpg"
) -> list[Annotation]:
    """Annotations of up to three images, each class once in each, with or without colours."""
    colors = {n: draw(st.none() | st.tuples(*[st.integers(0, 255)] * 3)) for n in names}
    made = []
    for image in draw(st.lists(st.sampled_from(["a", "b/a", "ü &c"]), unique=True, min_size=1, max_size=3)):
        size = draw(SIZE)
        free = np.ones(size, bool)
        for name in draw(st.lists(st.sampled_from(names), unique=True, min_size=1, max_size=4)):
            mask = draw(arrays(bool, size))
            made.append(Annotation(name, mask if overlap else mask & free, image + suffix, colors[name]))
            free &= ~mask
    return made


def as_tuples(annotations: Iterable[Annotation], colors: bool = True) -> list[tuple[Any, ...]]:
    """Everything that annotations say, as what can be compared."""
    return [
        (a.image, a.name, a.color if colors else None, a.mask.shape, a.mask.tobytes(), a.mask.dtype)
        for a in annotations
    ]
