"""Layers that several published networks have, with the names of their published weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from owseg.models.classifiers import LinearClassifier
from owseg.models.ops import ConvNorm


def conv_bn_act(
    inside: int,
    out: int,
    kernel: int | tuple[int, int],
    act: Callable[[], nn.Module] = nn.Identity,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> ConvNorm:
    """Return a convolution without bias that keeps the size, but for ``stride``; batch normalisation; ``act``."""
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (dilation * (sides[0] // 2), dilation * (sides[1] // 2))
    conv = nn.Conv2d(inside, out, sides, stride, padding, dilation, groups, bias=False)
    return ConvNorm(conv, nn.BatchNorm2d(out), act())


@torch.no_grad()
def passing(classes: int) -> LinearClassifier:
    """Return a classifier whose logits are the embedding, for networks whose last layer is no 1x1 convolution."""
    classifier = LinearClassifier(classes, classes)
    classifier.conv.weight.copy_(torch.eye(classes)[:, :, None, None])
    assert classifier.conv.bias is not None
    classifier.conv.bias.zero_()
    return classifier


class Halved(nn.Module):
    """Half the size: a 3x3 of stride 2 beside a maximum of 3x3 (Paszke et al., ENet, 2016, Fig. 2a)."""

    def __init__(self, inside: int, out: int, act: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.conv = conv_bn_act(inside, out - inside, 3, act, stride=2)
        self.pool = nn.MaxPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, h, w) -> (B, out, h / 2, w / 2)."""
        return torch.cat([self.conv(x), self.pool(x)], 1)


def at_half_cells(maps: Tensor, stride: int) -> Tensor:
    """Return maps (B, C, h, w) at the centres of cells of half the size, (B, C, 2 h, 2 w).

    For a network that was trained to be enlarged from ``stride`` to pixels so that the centres of the corner cells lie
    on those of the corner pixels (``align_corners``). Whatever reads an embedding takes cells to be squares of pixels:
    here it has what that enlargement has at the centres of such squares. From stride 2 it is the enlargement itself.
    """
    # 16 bits would move places by several pixels.
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    # From -1, the centre of the first pixel, to 1, that of the last: the cell j begins at the pixel j stride / 2.
    rows, columns = (
        (stride * torch.arange(2 * n, dtype=maps.dtype, device=maps.device) + stride / 2 - 1) / (stride * n - 1) - 1
        for n in maps.shape[-2:]
    )
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, places, align_corners=True)
