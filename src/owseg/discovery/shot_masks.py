"""From decisions about an image's regions to the masks of a shot."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from owseg.discovery.contents import QueueImage
from owseg.discovery.decisions import Decision

MARGIN = 0.02
"""Width of the void margin around a region whose mask nobody corrected, as a share of the image's shorter side."""


def shot_masks(image: QueueImage, name: str, decisions: Mapping[str, Decision]) -> tuple[np.ndarray, np.ndarray]:
    """Return the positives and the void pixels of an image for the class ``name``, both (H, W) bool.

    Positive is every region accepted as the class: its corrected mask, else its core. Negative are known pixels, and
    regions that were rejected, marked as known or accepted as another class. All other unknown pixels are void, and so
    are those within ``MARGIN`` of a mask that nobody corrected: where the object ends is not known there.
    """
    positives, other, uncorrected = np.zeros((3, *image.size), bool)
    void = image.unknown.mask()
    for region_id, region in zip(image.ids, image.regions, strict=True):
        decision, whole = decisions.get(region_id), region.mask.mask()
        void |= whole  # holes that were filled are not among the unknown pixels
        if decision is None:
            continue
        corrected = decision.mask.mask() if decision.mask else None
        if decision.name != name:
            other |= whole if corrected is None else corrected
        elif corrected is None:
            positives |= region.core.mask()
            uncorrected |= whole
        else:
            positives |= corrected
    if uncorrected.any():
        void |= ndimage.distance_transform_edt(~uncorrected) <= MARGIN * min(image.size)
    return positives, void & ~positives & ~other
