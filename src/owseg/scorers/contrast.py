"""Contrast of a score: what stands out from what is around it, and from the rest of its image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from owseg.models.ops import size_of

AROUND = 0.1
"""The side of the square around a pixel, as a share of the image's shorter side."""

LOCAL, GLOBAL = 0.3, 0.3
"""How much of the difference from the mean of that square, and from the image's median, is added to a score."""


def contrasted(score: Tensor) -> Tensor:
    """Return ``s + LOCAL (s - m) + GLOBAL (s - M)`` of scores s (B, h, w), each image for itself.

    m is the mean of the square around a pixel, M the median of the image. A coarse map is blurred around a thing, and
    higher everywhere in a place that the network does not know; both count for less. The result follows the score under
    ``a s + b``, a > 0, so a threshold moves to another place by the shift of s. An image in which a score is not finite
    stays as it is.
    """
    median = score.flatten(1).median(1).values.view(-1, 1, 1)
    finite = score.isfinite().flatten(1).all(1).view(-1, 1, 1)
    return torch.where(finite, sharpened(score, LOCAL) + GLOBAL * (score - median), score)


def sharpened(score: Tensor, amount: float) -> Tensor:
    """Return ``s + amount (s - m)`` of scores s (B, h, w), m being the mean of the square around: unsharp masking.

    Beyond the border the score is that of the border.
    """
    half = round(AROUND * min(size_of(score)) / 2)
    padded, side = F.pad(score[:, None], (half, half, half, half), mode="replicate"), 2 * half + 1
    # The mean of a square is that of its rows' means: 58 additions a pixel in place of 841 at a side of 29.
    around = F.avg_pool2d(F.avg_pool2d(padded, (1, side), stride=1), (side, 1), stride=1)
    return score + amount * (score - around[:, 0])
