"""Fishyscapes (Blum et al., IJCV 2021): ``NAME_anomaly.npy`` and ``NAME_segmentation.npy`` for each image.

Its server runs a container on ``/input`` and reads these files from ``/output``: this is what the container has to
write. The images are 1024x2048, and their names begin with a number and "_", by which they are sorted.
"""

from __future__ import annotations

import re

import numpy as np

from owseg._registry import Card
from owseg.data.datasets.cityscapes import CITYSCAPES
from owseg.data.render import encode_npy
from owseg.errors import OwsegError
from owseg.inference.submissions.base import Submission
from owseg.knowledge.base import KnowledgeBase

SIZE = (1024, 2048)

OTHER = len(CITYSCAPES)
"""The largest id that is taken, 19, which no class of Cityscapes has: that of every other class."""

LOWEST = float(np.finfo(np.float32).min)


def fishyscapes(kb: KnowledgeBase) -> Submission:
    """Return the format for ``kb``: its score as float32, and its closed map in Cityscapes' train ids, by class name.

    -inf, where a learned class is predicted, is the lowest float32.
    """
    others = [name for name in kb.labels.names if name not in CITYSCAPES]
    table = CITYSCAPES.lookup(kb.labels, OTHER)

    def paths(frame: str) -> tuple[str, ...]:
        if not re.match(r"\d+_", frame):
            raise OwsegError(
                f"{frame} is no name of an image of Fishyscapes, which begins with a number and _; rename it."
            )
        return f"{frame}_anomaly.npy", f"{frame}_segmentation.npy"

    def encode(score: np.ndarray, labels: np.ndarray) -> tuple[bytes, ...]:
        if labels.shape != SIZE:
            size = f"{labels.shape[1]}x{labels.shape[0]}"
            raise OwsegError(f"an image of Fishyscapes is {SIZE[1]}x{SIZE[0]}, not {size}; take it as it is.")
        return encode_npy(np.maximum(score, np.float32(LOWEST))), encode_npy(table[labels])

    note = f"Cityscapes has no class {', '.join(others)}: id {OTHER} in the segmentation." if others else ""
    return Submission(paths, encode, note)


CARDS = (
    Card(
        "fishyscapes",
        "Fishyscapes: NumPy files of scores and classes, as its server reads them from a container",
        make=fishyscapes,
        source="fishyscapes.com",
    ),
)
