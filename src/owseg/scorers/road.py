"""A score for what lies on the road: ``joint@segments@road`` is low away from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from owseg.models.ops import closed_map_at, size_of
from owseg.scorers.contrast import sharpened
from owseg.types import Output, Scorer

LIMIT = 2.5
"""By how much the score is lowered far from the road, in standard deviations of the score in the image."""

SPREAD = 0.09
"""The distance from the road at which it is lowered in full, as a share of the image's shorter side."""

AMOUNT = 0.4
"""How much of the difference from the mean around a pixel is added to its score (see ``sharpened``)."""


@dataclass(frozen=True)
class OnRoad:
    """A ``Scorer``: another, lowered by ``LIMIT V^(1/2) min(1, d / SPREAD)`` away from the road, and ``sharpened``.

    d is the distance from the ``hull`` of what the closed map calls ``road``, an id, as a share of the image's shorter
    side, V the variance of the score in the image. Inside the hull nothing is lowered: an obstacle is no road to the
    network, but has road around it. Where an image has no road, all of it is lowered in full. An obstacle is small, so
    what counts more than the score itself is by how much it is above that of the shadow or the paving around.
    """

    scorer: Scorer
    road: int

    def __call__(self, output: Output) -> Tensor:
        """Return the score (B, h, w) float32, on the grid of ``scorer``."""
        score = self.scorer(output).float()
        away = torch.from_numpy(np.stack([distance(inside) for inside in self.hulls(output, size_of(score))])).to(score)
        spread = score.flatten(1).std(1, correction=0).view(-1, 1, 1)
        return sharpened(score - LIMIT * spread * (away / SPREAD).clamp(max=1), AMOUNT)

    def hulls(self, output: Output, size: tuple[int, int]) -> np.ndarray:
        """Return where nothing is lowered, the hull of the road, (B, H, W) bool, at ``size`` (H, W)."""
        roads = (closed_map_at(output.logits.float(), size) == self.road).cpu().numpy()
        return np.stack([hull(road) for road in roads])


def hull(road: np.ndarray) -> np.ndarray:
    """Return the convex hull (h, w) bool of the largest 4-connected piece of ``road`` (h, w) bool; empty for none."""
    from skimage.morphology import convex_hull_image

    pieces, count = ndimage.label(road)
    if not count:
        return np.zeros_like(road)
    largest = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
    found: np.ndarray = convex_hull_image(largest)  # type: ignore[no-untyped-call]
    return found


def distance(inside: np.ndarray) -> np.ndarray:
    """Return how far each pixel is from those ``inside`` (h, w) bool, as a share of the shorter side; inf for none."""
    if not inside.any():
        return np.full(inside.shape, np.inf)
    found: np.ndarray = ndimage.distance_transform_edt(~inside) / min(inside.shape)
    return found
