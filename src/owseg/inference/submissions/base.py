"""What a format of submissions is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Submission:
    """How the scores of a knowledge base are handed in.

    ``paths(frame)`` returns the files of the image called ``frame``, below the folder of the submission, and raises
    ``OwsegError`` for a name that the benchmark does not take. ``encode(score, labels)`` returns their contents, in the
    same order, of a score (H, W) float32, higher is more anomalous and -inf is certainly known, and of the closed map
    (H, W) uint8; it raises ``OwsegError`` for a size that the benchmark does not take. ``note`` is what a user should
    know.
    """

    paths: Callable[[str], tuple[str, ...]]
    encode: Callable[[np.ndarray, np.ndarray], tuple[bytes, ...]]
    note: str = ""
