"""A promise in alarms: the threshold of regions at which so many false ones are found in an image of known things."""

from __future__ import annotations

from collections.abc import Iterable
from math import floor

import numpy as np

from owseg.errors import OwsegError
from owseg.knowledge.pieces import pixels, rated_pieces
from owseg.knowledge.regions import MIN_AREA
from owseg.openset import RegionThreshold, Threshold, check_enough

FALSE_ALARMS = 0.3
"""The false alarms per image that are asked for by default."""


def region_threshold(
    score_maps: Iterable[tuple[np.ndarray, np.ndarray]],
    threshold: Threshold,
    rate: float = FALSE_ALARMS,
    method: str = "quantile",
    min_area: float = MIN_AREA,
) -> RegionThreshold:
    """Return the least threshold of regions at which no more than ``rate`` false ones are found in an image.

    ``score_maps`` are as for ``threshold_at_fpr``. A region (see ``pieces_above``) has at least ``min_area``, and is
    false where at least half of its pixels are known.

    * "quantile": the mean over the images of their number is at most ``rate``.
    * "conformal": conformal risk control (Angelopoulos et al., ICLR 2024) of whether an image has one: if the next
      image is exchangeable with these n, and ``threshold`` was found without them, the probability that it has is at
      most ``rate``; with a ``threshold`` of the same images that holds approximately. It needs ``n >= 1/rate - 1``
      images.

    Pieces do not depend on this threshold, so their number falls as it rises, and it is the least one. Raises
    ``OwsegError`` for a rate that is not above 0 (or not below 1, for "conformal"), too few images, and no known pixel.
    """
    check_alarms(rate, method)
    false = [false_evidence(score, known, threshold, min_area) for score, known in score_maps if known.any()]
    n = len(false)
    if not n:
        raise OwsegError("no known pixel is left to calibrate on; give images that show known classes.")
    check_enough(n, rate, method)
    if method == "conformal":
        # (k + 1) / (n + 1) <= rate for k images with a false region, each of which counts by its surest.
        allowed, evidence = floor(rate * (n + 1) - 1 + 1e-9), [float(e.max()) for e in false if len(e)]
    else:
        allowed, evidence = floor(rate * n + 1e-9), np.concatenate(false).tolist()
    evidence = sorted(evidence, reverse=True)
    value = evidence[allowed] if len(evidence) > allowed else 0.0
    return RegionThreshold(value, method, rate, sum(e > value for e in evidence) / n, n)


def check_alarms(rate: float, method: str) -> None:
    """Raise ``OwsegError`` for a number of false alarms per image that cannot be asked for."""
    if not rate > 0 or (method == "conformal" and not rate < 1):
        raise OwsegError(f"false alarms per image are asked for above 0, and below 1 for conformal, not {rate}.")


def false_evidence(
    score: np.ndarray, known: np.ndarray, threshold: Threshold, min_area: float = MIN_AREA
) -> np.ndarray:
    """Return the ``evidence`` of the false pieces of one image: at least half of their pixels are ``known`` (H, W).

    ``score`` (H, W) is -inf where a pixel is never unknown.
    """
    unknown = score > np.float32(threshold.value)
    pieces, evidence = rated_pieces(score, unknown, threshold, pixels(min_area, score.shape))
    areas = np.bincount(pieces.ravel())[1:]
    of_known = np.bincount(pieces.ravel(), known.ravel())[1:]
    found: np.ndarray = evidence[2 * of_known >= areas]
    return found
