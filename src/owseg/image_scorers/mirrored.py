"""The mean of a score over an image and its mirror image."""

from __future__ import annotations

import numpy as np

from owseg._registry import Card
from owseg.knowledge.base import KnowledgeBase
from owseg.types import ImageScorer


def mirrored(kb: KnowledgeBase, score: str = "") -> ImageScorer:
    """Return the mean of ``score``, by default the knowledge base's own, over an image and its mirror image.

    With ``mask_msp`` on a mask classifier it is Mask2Anomaly's (Rai et al., ICCV 2023) where there is no refinement
    mask. Raises ``OwsegError`` for a score that the knowledge base does not have.
    """
    name = score or kb.scorer
    kb.require_scorer(name)

    def score_of(image: np.ndarray) -> np.ndarray:
        return kb.assess(kb.forward(image), (image.shape[1], image.shape[2]), (name,)).scores[name]

    def mean(image: np.ndarray) -> np.ndarray:
        result: np.ndarray = (score_of(image) + score_of(np.ascontiguousarray(image[..., ::-1]))[:, ::-1]) / 2
        return result

    return mean


CARDS = (
    Card(
        "mirrored",
        "the mean of a score over the image and its mirror image",
        make=lambda kb, seed=0, score="": mirrored(kb, score),
        source="Rai et al., ICCV 2023, with mask_msp",
        options={"score": "the name of the score; by default the knowledge base's own"},
    ),
)
