"""Smoothing of a score, a separate step: Gaussian blurs, and the boundary suppression of Jung et al. (ICCV 2021).

Each takes a score (H, W) or (B, h, w), at the resolution of the network or of the image, and returns one of that shape.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from owseg.errors import OwsegError


def gaussian(score: Tensor, size: int = 7, sigma: float = 1.0) -> Tensor:
    """Return the score blurred by a Gaussian of ``size`` x ``size`` pixels; RPL's last step (Liu et al., ICCV 2023).

    ``g(d) ~ exp(-d^2 / (2 sigma^2))`` along both axes, normalised to sum 1; the image is mirrored at its edge. Raises
    ``OwsegError`` for an even size, a ``sigma`` that is not positive and a score no larger than half of ``size``.
    """
    return _convolved(score, _gaussian_kernel(size, sigma).to(score), 1, "reflect")


def dilated_gaussian(score: Tensor, size: int = 7, sigma: float = 1.0, dilation: int = 6) -> Tensor:
    """Return the score blurred by a Gaussian whose taps are ``dilation`` pixels apart; Jung et al., ICCV 2021.

    ``sigma`` is in taps; the image's edge is repeated.
    """
    return _convolved(score, _gaussian_kernel(size, sigma).to(score), dilation, "replicate")


def suppress_boundaries(score: Tensor, labels: Tensor, width: int = 4, iterations: int = 4) -> Tensor:
    """Return the score with the values at class boundaries replaced from inside the classes; Jung et al., ICCV 2021.

    ``labels`` is the closed map, of the score's shape. A boundary pixel has a 4-neighbour of another class. In step i =
    0, 1, ... the band is all pixels within ``width - i * width / iterations - 1`` steps of one (in the last step,
    within 0), and each pixel of the band becomes the mean of those of its 3 x 3 neighbours that are outside the band,
    where there is one. Raises ``OwsegError`` for a width that the iterations do not divide and for maps of different
    shapes.
    """
    if score.shape != labels.shape:
        raise OwsegError(f"a score of {tuple(score.shape)} does not fit labels of {tuple(labels.shape)}.")
    if iterations < 1 or width < iterations or width % iterations:
        raise OwsegError(f"a width of {width} cannot be reduced in {iterations} equal steps; give a multiple of it.")
    values, (_, _, h, w) = _planes(score), _planes(labels).shape
    # Beyond the edge a label is repeated: the border of the image is no boundary of a class.
    padded = F.pad(_planes(labels).float(), (1, 1, 1, 1), mode="replicate")
    middle = padded[..., 1:-1, 1:-1]
    # Views of the label above, below, left and right of each pixel.
    neighbours = (padded[..., :h, 1:-1], padded[..., 2:, 1:-1], padded[..., 1:-1, :w], padded[..., 1:-1, 2:])
    boundary = torch.stack([n != middle for n in neighbours]).any(0)
    window = values.new_ones(1, 1, 3, 3)
    for step in range(iterations):
        reach = 0 if step == iterations - 1 else width - step * (width // iterations) - 1
        band = boundary
        for _ in range(reach):
            band = _grown(band)
        # Means over the pixels outside the band only: sum of value * mask / sum of mask, both by a 3x3 box.
        inside = F.pad((~band).to(values), (1, 1, 1, 1), mode="replicate")
        count = F.conv2d(inside, window)
        total = F.conv2d(F.pad(values, (1, 1, 1, 1), mode="replicate") * inside, window)
        values = torch.where(band & (count > 0), total / count.clamp(min=1), values)
    return values.view_as(score)


def _gaussian_kernel(size: int, sigma: float) -> Tensor:
    if size < 1 or size % 2 == 0 or not sigma > 0:
        raise OwsegError(f"a Gaussian has an odd size and a positive sigma, not {size} and {sigma}.")
    distance = torch.arange(size, dtype=torch.float64) - size // 2
    kernel = torch.exp(-distance.square() / (2 * sigma**2))
    return kernel / kernel.sum()


def _convolved(score: Tensor, kernel: Tensor, dilation: int, mode: str) -> Tensor:
    reach = len(kernel) // 2 * dilation
    # torch cannot mirror by as much as the side of a map.
    if mode == "reflect" and min(score.shape[-2:]) <= reach:
        raise OwsegError(f"a score of {tuple(score.shape[-2:])} is too small for a Gaussian of {len(kernel)} pixels.")
    x = F.pad(_planes(score), (reach,) * 4, mode=mode)
    # A Gaussian is separable: 2 * size products a pixel, not size^2.
    x = F.conv2d(x, kernel.view(1, 1, -1, 1), dilation=dilation)
    return F.conv2d(x, kernel.view(1, 1, 1, -1), dilation=dilation).view_as(score)


def _grown(mask: Tensor) -> Tensor:
    """Return a mask (B, 1, H, W) dilated to its 4-neighbours."""
    x = mask.float()
    up, across = F.max_pool2d(x, (3, 1), 1, (1, 0)), F.max_pool2d(x, (1, 3), 1, (0, 1))
    return torch.maximum(up, across) > 0


def _planes(maps: Tensor) -> Tensor:
    """Return (H, W) or (B, h, w) as (B, 1, h, w)."""
    if maps.ndim not in (2, 3):
        raise OwsegError(f"a score is (H, W) or (B, h, w), not {tuple(maps.shape)}.")
    return maps.reshape(-1, 1, *maps.shape[-2:])
