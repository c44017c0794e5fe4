"""Whether a threshold keeps the false-positive rate it was calibrated for, on images it was not calibrated on."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import nan

import numpy as np

from owseg.errors import OwsegError
from owseg.labels import UNKNOWN


@dataclass(frozen=True)
class AchievedFPR:
    """The false-positive rate (the share of known pixels predicted as unknown) against the rate that was ``asked`` for.

    ``pooled`` is the rate over the pixels of all images, ``mean`` the mean of the images' own rates (which conformal
    calibration bounds in expectation), ``above`` the share of images whose own rate exceeds ``asked``; all in [0, 1].
    Images without a known pixel are left out, ``images`` counts the others; NaN where there are none.
    """

    asked: float
    pooled: float
    mean: float
    above: float
    images: int


def achieved_fpr(fp: np.ndarray, known: np.ndarray, asked: float) -> AchievedFPR:
    """Return the rates of n images: ``fp`` (n,) known pixels predicted as unknown, ``known`` (n,) all known pixels.

    A rate equal to ``asked`` is not above it: whole numbers are compared. Raises ``OwsegError`` for a rate outside
    [0, 1].
    """
    if not 0 <= asked <= 1:
        raise OwsegError(f"the false-positive rate lies between 0 and 1, not at {asked}.")
    fp, known = (counts[known > 0].astype(np.int64) for counts in (fp, known))
    if not len(known):
        return AchievedFPR(asked, nan, nan, nan, 0)
    # The float .3 is slightly less than 3/10, so that a rate of exactly 3/10 would be above it.
    share = Fraction(asked).limit_denominator(10**6)
    above = (fp * share.denominator > known * share.numerator).mean()
    return AchievedFPR(asked, float(fp.sum() / known.sum()), float((fp / known).mean()), float(above), len(known))


class FalsePositives:
    """Counts the false positives of each image for ``achieved_fpr``. Memory: two numbers per image."""

    def __init__(self, asked: float) -> None:
        self.asked = asked
        self._counts: list[tuple[int, int]] = []

    def update(self, predicted: np.ndarray, target: np.ndarray) -> None:
        """Add one image: ``predicted`` (H, W) bool is where it is predicted as unknown, ``target`` (H, W) uint8."""
        if predicted.shape != target.shape:
            raise OwsegError(f"a mask of {predicted.shape} does not fit a target of {target.shape}.")
        known = target < UNKNOWN
        self._counts.append((int(np.count_nonzero(predicted & known)), int(np.count_nonzero(known))))

    def __iadd__(self, other: FalsePositives) -> FalsePositives:
        if self.asked != other.asked:
            raise OwsegError("only counts against the same false-positive rate can be merged.")
        self._counts += other._counts
        return self

    def __add__(self, other: FalsePositives) -> FalsePositives:
        merged = FalsePositives(self.asked)
        merged += self
        merged += other
        return merged

    def compute(self) -> AchievedFPR:
        """Return the rates over everything added so far."""
        counts = np.array(self._counts, np.int64).reshape(-1, 2)
        return achieved_fpr(counts[:, 0], counts[:, 1], self.asked)
