"""What decisions say of a picture's pixels: which are of a class, and which nobody has said anything about."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from owseg.queue.decisions import Decision
from owseg.queue.stored import Picture

MARGIN = 0.02
"""How far around a region as it was found nobody knows where the thing ends, as a share of the shorter side."""


def shot_masks(picture: Picture, name: str, decisions: Mapping[str, Decision]) -> tuple[np.ndarray, np.ndarray]:
    """Return where the class ``name`` is in a picture and what is void there, both (H, W) bool.

    The class is every region accepted as it: its corrected mask, else its core. What was rejected, or accepted as
    another class, is not of it; nor are pixels that the knowledge base knows. Void, since nobody has said what they
    are, are all other unknown pixels, and those within ``MARGIN`` of a mask that nobody has corrected.
    """
    mask, other, rough = np.zeros((3, *picture.size), bool)
    void = picture.unknown.mask()
    for region, found in zip(picture.ids, picture.regions, strict=True):
        decision, whole = decisions.get(region), found.mask.mask()
        void |= whole
        if decision is None:
            continue
        drawn = decision.mask.mask() if decision.mask else None
        if decision.name != name:
            other |= whole if drawn is None else drawn
        elif drawn is None:
            mask |= found.core.mask()
            rough |= whole
        else:
            mask |= drawn
    if rough.any():
        void |= ndimage.distance_transform_edt(~rough) <= MARGIN * min(picture.size)
    return mask, void & ~mask & ~other
