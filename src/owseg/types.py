"""The values that flow: a sample goes in, an output comes out of the network, a prediction reaches the user.

Shapes: B batch, K known classes, D embedding, (H, W) full resolution, (h, w) network resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """One picture and, where it is known, its truth.

    ``image`` (3, H, W) uint8 RGB; ``target`` (H, W) uint8 class ids with KNOWN, UNKNOWN and IGNORE, or None; ``id`` its
    name. A target to evaluate with may have more pixels than the picture (see ``Source.finer``).
    """

    image: np.ndarray
    target: np.ndarray | None
    id: str


@dataclass(frozen=True)
class Output:
    """What one forward pass leaves behind, for scorers, learners and increments to read.

    ``features`` the backbone's pyramid, one (B, C_i, h_i, w_i) per stage, finest first; ``embedding`` (B, D, h, w);
    ``logits`` (B, K, h, w). With a prototype classifier D = K and ``logits[:, t] = -||embedding - m_t||^2``.
    ``residual`` (B, K, h, w) is what speaks for each class once a residual pattern has been added, where one was
    learned (see ``owseg.models.residual``).
    """

    features: tuple[Tensor, ...]
    embedding: Tensor
    logits: Tensor
    residual: Tensor | None = None


Scorer: TypeAlias = Callable[[Output], Tensor]
"""``Output -> (B, h, w)``: any callable; higher means more anomalous."""


PictureScorer: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Picture (3, H, W) uint8 -> score (H, W) float32: what is no function of one ``Output``; higher, more anomalous."""


@dataclass(frozen=True)
class Prediction:
    """What a knowledge base says of one picture.

    ``labels`` (H, W) uint8, the closed map: always one of the known classes; ``score`` (H, W) float32, higher is more
    anomalous; ``open_set`` (H, W) uint8, the closed map with UNKNOWN where the score is above the threshold and no
    learned class claims the pixel.
    """

    labels: np.ndarray
    score: np.ndarray
    open_set: np.ndarray


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate (B, C, h, w) bilinearly to ``size`` (pixel centres aligned as in ``align_corners=False``)."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
