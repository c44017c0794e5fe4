"""Light atrous spatial pyramid pooling with low-level skips, the default decoder."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from owseg._registry import Card
from owseg.models.decoders.base import Decoder
from owseg.models.ops import conv_bn, depthwise, resize, size_of, widened_conv


class ASPPDecoder(Decoder):
    """Light atrous spatial pyramid pooling with low-level skips (after DeepLabV3+, Chen et al., ECCV 2018).

    The coarsest map passes a 1x1 convolution, depth-wise 3x3 at each of ``rates`` (dilations) and an image pool; the
    result, of ``width`` channels, is fused with a projection of each finer map, coarse to fine, down to the stride
    ``skip_stride``. Pyramid -> (B, out, h, w).
    """

    kind = "aspp"

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        out: int,
        width: int = 128,
        rates: Sequence[int] = (3, 6, 12),
        skip_stride: int = 4,
    ) -> None:
        super().__init__()
        self.width = width
        deep, branch = channels[-1], max(8, 3 * width // 4)
        # Depth-wise 3x3 and 1x1 in place of a dense 3x3, as in DeepLabV3+: about a ninth of the multiplications.
        self.branches = nn.ModuleList(
            [conv_bn(deep, branch)] + [nn.Sequential(depthwise(deep, rate), conv_bn(deep, branch)) for rate in rates]
        )
        # Without batch norm: a pooled map has one value per image, too few for batch statistics.
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(deep, branch, 1), nn.ReLU())
        self.project = nn.Sequential(conv_bn(branch * (len(self.branches) + 1), width), nn.Dropout2d(0.1))
        self.skips = _skip_indices(strides, skip_stride)
        # 48 channels for each skip, as in DeepLabV3+: more would outweigh the deep features.
        self.lateral = nn.ModuleList([conv_bn(channels[i], 48) for i in self.skips])
        self.fuse = nn.ModuleList(
            [nn.Sequential(depthwise(width + 48, 1), conv_bn(width + 48, width)) for _ in self.skips]
        )
        self.refine = nn.Sequential(depthwise(width, 1), conv_bn(width, width))
        # Neither batch norm nor ReLU after it: coordinates of the metric space have both signs.
        self.head = nn.Conv2d(width, out, 1)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of ``make_decoder`` besides the pyramid; plain JSON."""
        return {"kind": self.kind, "width": self.width}

    def widened(self, out: int) -> ASPPDecoder:
        """Return a copy whose last convolution has ``out`` outputs; the new ones start at zero."""
        wider = copy.deepcopy(self)
        wider.head = widened_conv(self.head, out)
        return wider

    def penultimate(self, features: Sequence[Tensor]) -> Tensor:
        """Return the pooled pyramid joined with the finest skip, at that skip's resolution."""
        deep = features[-1]
        maps = [branch(deep) for branch in self.branches]
        # (B, branch, 1, 1) -> (B, branch, h, w) without a copy.
        maps.append(self.pool(deep).expand(-1, -1, *deep.shape[-2:]))
        x = self.project(torch.cat(maps, 1))
        for number, (i, lateral) in enumerate(zip(self.skips, self.lateral, strict=True)):
            x = self.fuse[number - 1](x) if number else x
            x = torch.cat([resize(x, size_of(features[i])), lateral(features[i])], 1)
        joined: Tensor = x
        return joined

    def embed(self, penultimate: Tensor) -> Tensor:
        """Return the embedding (B, out, h, w) at the finest skip's resolution."""
        fused = self.fuse[-1](penultimate) if self.skips else penultimate
        embedding: Tensor = self.head(self.refine(fused))
        return embedding


def _skip_indices(strides: Sequence[int], finest: int) -> list[int]:
    """Return the last stage at each stride finer than the coarsest map, coarse to fine, not below ``finest``."""
    # A dilated backbone has several stages of one stride, of which the last is the deepest.
    last = {stride: i for i, stride in enumerate(strides)}
    wanted = [s for s in sorted(last, reverse=True) if finest <= s < strides[-1]]
    return [last[s] for s in wanted]


CARDS = (
    Card(
        "aspp",
        "light atrous spatial pyramid pooling with low-level skips",
        make=ASPPDecoder,
        source="after DeepLabV3+, Chen et al., ECCV 2018",
        options={"width": "channels of the decoder"},
    ),
)
