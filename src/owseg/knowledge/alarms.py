"""A promise in alarms: the threshold of regions at which so many false ones are found in an image of known things."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import ceil

import numpy as np

from owseg.errors import OwsegError
from owseg.knowledge.pieces import pieces_above, pixels
from owseg.knowledge.regions import MIN_AREA
from owseg.openset import RegionThreshold, Threshold

FALSE_ALARMS = 0.3
"""The false alarms per image that are asked for by default: F1 of regions was best there with objects pasted (docs)."""

TRIED = 40
"""How many thresholds are tried: those that a share of the known pixels exceeds, from one pixel to ``MOST``."""

MOST = 0.2


def region_threshold(
    score_maps: Iterable[tuple[np.ndarray, np.ndarray]],
    threshold: Threshold,
    rate: float = FALSE_ALARMS,
    method: str = "quantile",
) -> RegionThreshold:
    """Return the least threshold of regions at which no more than ``rate`` false ones are found in an image.

    ``score_maps`` are as for ``threshold_at_fpr``. A region (see ``pieces_above``) has at least ``MIN_AREA``, and is
    false where at least half of its pixels are known. With the number ``a_i(t)`` of false regions in image i,
    ``l_i(t) = max_{u >= t} a_i(u)`` falls in t.

    * "quantile": the mean of l_i over the images is at most ``rate``.
    * "conformal": conformal risk control (Angelopoulos et al., ICLR 2024) of ``L_i(t) = min(l_i(t), 1)``: if the next
      image is exchangeable with these n, the probability that it has a false region is at most ``rate``. It needs
      ``n >= 1/rate - 1`` images.

    Of ``TRIED`` thresholds it is the least that will do. Raises ``OwsegError`` for a rate that is not above 0 (or below
    1, for "conformal"), too few images, no known pixel, and where even the highest known score is too low.
    """
    if not rate > 0 or (method == "conformal" and not rate < 1):
        raise OwsegError(f"false alarms per image are asked for above 0, and below 1 for conformal, not {rate}.")
    images = [(score.astype(np.float32), known.astype(bool)) for score, known in score_maps]
    images = [(score, known) for score, known in images if np.isfinite(score[known]).any()]
    if not images:
        raise OwsegError("no known pixel is left to calibrate on; give images that show known classes.")
    n = len(images)
    if method == "conformal" and 1 / (n + 1) > rate:
        raise OwsegError(f"conformal calibration at {rate:g} needs at least {ceil(1 / rate - 1)} images, not {n}.")
    everything = np.sort(np.concatenate([score[known & np.isfinite(score)] for score, known in images]))
    worst, found = np.zeros(n), None
    for value in _tried(everything):
        limit = RegionThreshold(float(value), method, rate, 0.0, n)
        worst = np.maximum(worst, [false_regions(*image, replace(threshold, regions=limit)) for image in images])
        losses = np.minimum(worst, 1) if method == "conformal" else worst
        mean = float(losses.mean())
        if (n * mean + 1) / (n + 1) > rate if method == "conformal" else mean > rate:
            break
        found = replace(limit, achieved=mean)
    assert found is not None  # at the highest known score no known pixel exceeds it, and n is large enough
    return found


def false_regions(score: np.ndarray, known: np.ndarray, threshold: Threshold) -> int:
    """Return how many regions of one image are false: at least half of their pixels are ``known`` (H, W) bool.

    ``score`` (H, W) is -inf where a pixel is never unknown.
    """
    assert threshold.regions is not None
    if not (score > np.float32(threshold.regions.value)).any():
        return 0
    least = pixels(MIN_AREA, score.shape)
    pieces = pieces_above(score, score > np.float32(threshold.value), threshold, least)
    areas = np.bincount(pieces.ravel())
    of_known = np.bincount(pieces.ravel(), known.ravel())
    return int((2 * of_known[1:] >= areas[1:]).sum())


def _tried(scores: np.ndarray) -> np.ndarray:
    """Return scores to try, the highest first: those with 0, 1, ... up to a share ``MOST`` of all above them."""
    shares = np.geomspace(1 / len(scores), MOST, TRIED - 1)
    above = np.unique(np.r_[0, np.minimum(np.round(shares * len(scores)), len(scores) - 1)].astype(int))
    tried: np.ndarray = np.unique(scores[len(scores) - 1 - above])[::-1]
    return tried
