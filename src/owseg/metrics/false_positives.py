"""Whether a threshold keeps the false-positive rate that was asked of it, on images it was not found on."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from owseg.errors import OwsegError
from owseg.labels import UNKNOWN

NAN = float("nan")


@dataclass(frozen=True)
class AchievedFPR:
    """The share of known pixels called unknown, against the share that was ``asked`` for.

    ``pooled`` is taken over the pixels of all images, ``mean`` over the images' own shares (what conformal
    calibration bounds in expectation); ``above`` is the share of images whose own exceeds ``asked``. Images without
    a known pixel are left out, ``images`` counts the others; NaN where there are none.
    """

    asked: float
    pooled: float
    mean: float
    above: float
    images: int


def achieved_fpr(false: np.ndarray, known: np.ndarray, asked: float) -> AchievedFPR:
    """Sum up images: ``false`` (n,) are known pixels called unknown, ``known`` (n,) all known pixels.

    A share equal to ``asked`` is not above it: the comparison is of whole numbers. Raises ``OwsegError`` for a share
    outside [0, 1].
    """
    if not 0 <= asked <= 1:
        raise OwsegError(f"the false-positive rate lies between 0 and 1, not at {asked}.")
    false, known = (counts[known > 0].astype(np.int64) for counts in (false, known))
    if not len(known):
        return AchievedFPR(asked, NAN, NAN, NAN, 0)
    share = Fraction(asked).limit_denominator(10**6)
    above = (false * share.denominator > known * share.numerator).mean()
    return AchievedFPR(asked, float(false.sum() / known.sum()), float((false / known).mean()), float(above), len(known))


class FalsePositives:
    """What each image adds to ``achieved_fpr``. Memory: two numbers per image."""

    def __init__(self, asked: float) -> None:
        self.asked = asked
        self._counts: list[tuple[int, int]] = []

    def update(self, called: np.ndarray, target: np.ndarray) -> None:
        """Add one image: where it is called unknown, (H, W) bool, and its label map (H, W)."""
        if called.shape != target.shape:
            raise OwsegError(f"a mask of {called.shape} does not fit a target of {target.shape}.")
        known = target < UNKNOWN
        self._counts.append((int(np.count_nonzero(called & known)), int(np.count_nonzero(known))))

    def __add__(self, other: FalsePositives) -> FalsePositives:
        if self.asked != other.asked:
            raise OwsegError("only counts against the same false-positive rate can be merged.")
        merged = FalsePositives(self.asked)
        merged._counts = self._counts + other._counts
        return merged

    def compute(self) -> AchievedFPR:
        """Return the figures over everything added so far."""
        counts = np.array(self._counts, np.int64).reshape(-1, 2)
        return achieved_fpr(counts[:, 0], counts[:, 1], self.asked)
