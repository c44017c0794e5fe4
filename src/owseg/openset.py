"""The open-set decision: closed map, open-set map, and the threshold between known and unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil, isfinite, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from owseg.errors import OwsegError
from owseg.labels import UNKNOWN

if TYPE_CHECKING:
    from torch import Tensor

ESTIMATED = "estimated; no rate is promised"
"""What is said wherever a threshold is shown that was moved to images without ground truth."""

NO_THRESHOLD = (
    "this knowledge base has no threshold yet; run `owseg calibrate KB --data KIND:DIR` first, with --out NEW_KB for "
    "one that ships with owseg or is opened from elsewhere, as hf:NAME."
)
"""What is said where a threshold is needed and there is none."""


def closed_map(logits: Tensor) -> Tensor:
    """Return ``argmax_t p_t`` (B, h, w) long of logits (B, K, h, w) (DMLNet, Eq. 5).

    Ties go to the first class. With a prototype classifier ``argmax_t p_t = argmax_t f_t``, so the embedding may be
    given instead.
    """
    return logits.max(1).indices  # on a CPU three times as fast as argmax(1)


def open_set_map(labels: np.ndarray, score: np.ndarray, threshold: float) -> np.ndarray:
    """Return ``labels`` (H, W) as uint8, with UNKNOWN where ``score`` (H, W) > ``threshold`` (DMLNet, Eq. 1).

    Scores are compared as float32, as they were in the calibration. Raises ``OwsegError`` for a score of NaN.
    """
    score = np.asarray(score, np.float32)
    if np.isnan(score).any():
        raise OwsegError("the score holds NaN; check the weights and the image.")
    return np.where(score > np.float32(threshold), UNKNOWN, labels).astype(np.uint8)


QUANTILES = 201
"""By so many quantiles of its scores an image counts, from the least to the largest; the median is in the middle."""

_GRID = 40_000


def quantiles(score: np.ndarray) -> np.ndarray:
    """Return the ``QUANTILES`` of an image's score (H, W), ascending, float64.

    Of a large image every n-th row and column counts, about 40 000 pixels: scores are interpolated from a coarse grid.
    """
    step = max(1, round(sqrt(score.size / _GRID)))
    found: np.ndarray = np.quantile(score[::step, ::step].astype(np.float64), np.linspace(0, 1, QUANTILES))
    return found


@dataclass(frozen=True)
class Reference:
    """What scores are like on the images that a threshold is for, by which images of another place are noticed.

    Of each image the median score over all its pixels counts, known or not, as new images have no ground truth:
    ``mean`` and ``deviation`` (the sample standard deviation, 0 for one image) of these medians over ``images`` images.
    """

    mean: float
    deviation: float
    images: int

    @classmethod
    def of(cls, scores: Sequence[np.ndarray]) -> Reference:
        """Return the reference of images by the ``quantiles`` of each; raise ``OwsegError`` for scores not finite."""
        medians = [float(q[QUANTILES // 2]) for q in scores]
        if not np.isfinite(medians).all():
            raise OwsegError("a score is NaN or infinite; check the weights and the images.")
        return cls(float(np.mean(medians)), float(np.std(medians, ddof=1)) if len(medians) > 1 else 0.0, len(medians))


@dataclass(frozen=True)
class RegionThreshold:
    """The evidence (``owseg.knowledge.pieces``) that an unknown region has to exceed, and how it was found.

    ``target`` false alarms per image were asked for, ``achieved`` is their number on ``images`` calibration images; for
    "conformal" both are the share of images with a false alarm.
    """

    value: float
    method: str
    target: float
    achieved: float
    images: int


@dataclass(frozen=True)
class Threshold:
    """The score above which a pixel is unknown, and how it was found (see ``owseg.metrics.threshold``).

    ``target_fpr`` is the false-positive rate that was asked for, ``achieved_fpr`` the one on the calibration data: of
    all pixels for "quantile", averaged over the images for "conformal". ``unit`` is how far ``value`` lies above the
    median known score, a scale for drawing scores; always positive. ``images`` and ``pixels`` count the calibration
    data, ``reference`` is what all their scores are like (None in knowledge bases of earlier versions). ``regions`` is
    the threshold of regions, if one was found. One that is ``binned`` is from a histogram of more scores than are held.

    One that is ``estimated`` was moved since to images without ground truth (see ``owseg.knowledge.adaptation``).
    ``reference`` is then that of those images; all else but ``value`` is as it was found.
    """

    value: float
    method: str
    target_fpr: float
    achieved_fpr: float
    unit: float
    images: int
    pixels: int
    reference: Reference | None = None
    estimated: bool = False
    regions: RegionThreshold | None = None
    binned: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON, without those that are not set; numbers are finite."""
        return {name: value for name, value in asdict(self).items() if value is not None and value is not False}

    def __str__(self) -> str:
        return f"{self.value:.4g}" + f" ({ESTIMATED})" * self.estimated

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Threshold:
        """Read what ``to_json`` wrote; raise ``OwsegError`` if a field is missing, unknown or not finite."""
        try:
            threshold = cls(**value)
            numbers = [threshold.value, threshold.target_fpr, threshold.achieved_fpr, threshold.unit]
            if threshold.reference is not None:
                threshold = replace(threshold, reference=Reference(**value["reference"]))
                numbers += value["reference"].values()
            if threshold.regions is not None:
                regions = RegionThreshold(**value["regions"])
                threshold = replace(threshold, regions=regions)
                numbers += [regions.value, regions.target, regions.achieved]
            if all(isfinite(number) for number in numbers) and threshold.unit > 0:
                return threshold
        except (TypeError, OverflowError):
            pass
        raise OwsegError(f"{value!r} is not a threshold; calibrate again.")


def check_fpr(fpr: float) -> float:
    """Return a false-positive rate; raise ``OwsegError`` for one outside (0, 1)."""
    if not 0 < fpr < 1:
        raise OwsegError(f"the false-positive rate is between 0 and 1, not {fpr:g}; write 0.05 for 5 %.")
    return fpr


def check_method(method: str) -> None:
    """Raise ``OwsegError`` for a way to find a threshold that there is not."""
    if method not in ("quantile", "conformal"):
        raise OwsegError(f"there is no method {method!r}; it is quantile or conformal.")


def check_enough(images: int, rate: float, method: str) -> None:
    """Raise ``OwsegError`` where "conformal" can promise no ``rate`` with so few ``images``."""
    if method == "conformal" and 1 / (images + 1) > rate:
        # 1 / .05 - 1 may be slightly above 19 in floating point, and must not ask for 20 images.
        needed = ceil(1 / rate - 1 - 1e-9)
        raise OwsegError(f"conformal calibration at {rate:g} needs at least {needed} images, not {images}; give more.")
