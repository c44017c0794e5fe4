"""A synthetic drive: a camera that pans and zooms over a street, with unknown things that enter and leave the frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from owseg.data.synthetic.anomalies import ANOMALIES
from owseg.data.synthetic.canvas import CLASSES
from owseg.data.synthetic.scene import render

SIZE, STREET, RATE = (288, 384), (864, 1536), 10.0
"""Height and width of a frame, and of the street that the camera pans over; frames a second."""

LEAST = 150
"""A piece of an anomaly with fewer pixels of the street is part of another one, as a leg behind a pole is."""


@dataclass(frozen=True, eq=False)
class DriveFrame:
    """A frame: ``image`` (3, H, W) uint8; ``labels`` (H, W) uint8, ids of ``CLASSES``; ``things`` (H, W) uint8.

    ``things`` is the number of the unknown thing, the same in all frames, 0 elsewhere.
    """

    image: np.ndarray
    labels: np.ndarray
    things: np.ndarray


def drive(seed: int, frames: int = 40) -> Iterator[DriveFrame]:
    """Yield the frames of the drive of ``seed``: a pan across the street and back in, zoomed, with a shaking hand."""
    image, labels = render(seed, STREET, tuple(ANOMALIES), count=(5, 8), area=(0.003, 0.02))
    things = _numbered(labels)
    rng = np.random.default_rng([seed, 9])
    start, turn = rng.uniform(0, 0.15), rng.choice((-1.0, 1.0))
    for i in range(frames):
        along = i / max(frames - 1, 1)
        # The window is 0.72 to 0.92 of the height of the street: nearer, all would be larger than in training.
        zoom = 0.82 + 0.1 * np.sin(2 * np.pi * (along + start))
        height = STREET[0] * zoom
        width = height * SIZE[1] / SIZE[0]
        across = along if turn > 0 else 1 - along
        left = across * (STREET[1] - width) + rng.normal(0, 1.5)
        top = (STREET[0] - height) * (0.62 + 0.1 * np.sin(4 * np.pi * along)) + rng.normal(0, 1.5)
        box = (
            float(np.clip(left, 0, STREET[1] - width)),
            float(np.clip(top, 0, STREET[0] - height)),
        )
        window = (*box, box[0] + width, box[1] + height)
        pixels = _cut(image, window, Image.Resampling.BILINEAR).astype(np.float32)
        # The noise of a camera is another in each frame.
        pixels += rng.normal(0, 3, pixels.shape).astype(np.float32)
        shown = np.clip(pixels, 0, 255).astype(np.uint8)
        maps = (_cut(array, window, Image.Resampling.NEAREST) for array in (labels, things))
        yield DriveFrame(np.ascontiguousarray(shown.transpose(2, 0, 1)), *maps)


def _cut(array: np.ndarray, window: tuple[float, float, float, float], how: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(array).resize((SIZE[1], SIZE[0]), how, box=window))


def _numbered(labels: np.ndarray) -> np.ndarray:
    """Return the things (H, W) uint8, from 1: the pieces of each kind of anomaly, with the small ones next to them."""
    found, count = np.zeros(labels.shape, np.uint8), 0
    for kind in ANOMALIES:
        of_kind = labels == CLASSES.index(kind)
        # Parts that a pole or a leg's gap divides are one thing.
        pieces, _ = ndimage.label(ndimage.binary_dilation(of_kind, iterations=6))
        for piece in range(1, pieces.max() + 1):
            pixels = of_kind & (pieces == piece)
            if pixels.sum() >= LEAST:
                count += 1
                found[pixels] = count
    return found
