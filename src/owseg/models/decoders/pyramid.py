"""A light decoder that reads every stage of the pyramid, the default: what a frozen backbone needs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from owseg._registry import Card
from owseg.models.decoders.base import Decoder
from owseg.models.ops import conv_bn, depthwise, resize, size_of, widened_conv
from owseg.models.traced import has_size


class PyramidDecoder(Decoder):
    """The sum of all stages at stride 8, its surroundings, and a finer stage: pyramid -> (B, out, h, w).

    Each stage is standardised by its batch statistics and projected to ``width`` channels. Their sum, on the grid of
    the last stage at stride 8, is filtered by depth-wise 3x3 there and reduced by each of ``factors``, and its mean
    over the image is added: pyramid pooling (Zhao et al., CVPR 2017), as wide as dilated filters (Chen et al., ECCV
    2018) and cheaper. Reduced to ``fine`` channels (by default half of ``width``) the result is joined with the last
    stage at stride 4, at whose resolution the embedding is. A backbone that does not learn cannot move what the classes
    need into its last stage, so all stages are read.
    """

    kind = "pyramid"

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        out: int,
        width: int = 128,
        fine: int | None = None,
        factors: Sequence[int] = (1, 2, 4),
    ) -> None:
        super().__init__()
        self.width, self.fine = width, (fine := fine or width // 2)
        self.grid, self.finest = _last(strides, 8), _last(strides, 4)
        # The maps of a frozen backbone have scales of their own, which none of its layers will adapt.
        self.scale = nn.ModuleList([nn.BatchNorm2d(c) for c in channels])
        self.project = nn.ModuleList([nn.Conv2d(c, width, 1, bias=False) for c in channels])
        self.sum = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())
        self.branches = nn.ModuleList([Reduced(width, factor) for factor in factors])
        # Without batch norm: a pooled map has one value per image, too few for batch statistics.
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels[-1], width, 1), nn.ReLU())
        self.join = nn.Sequential(conv_bn(width * (len(factors) + 2), width), nn.Dropout2d(0.1), conv_bn(width, fine))
        self.lateral = conv_bn(channels[self.finest], 24)
        self.fuse = nn.Sequential(depthwise(fine + 24, 1), conv_bn(fine + 24, fine))
        self.refine = nn.Sequential(depthwise(fine, 1), conv_bn(fine, fine))
        # Neither batch norm nor ReLU after it: coordinates of the metric space have both signs.
        self.head = nn.Conv2d(fine, out, 1)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of ``make_decoder`` besides the pyramid; plain JSON."""
        return {"kind": self.kind, "width": self.width, "fine": self.fine}

    def widened(self, out: int) -> PyramidDecoder:
        """Return a copy whose last convolution has ``out`` outputs; the new ones start at zero."""
        wider = copy.deepcopy(self)
        wider.head = widened_conv(self.head, out)
        return wider

    def penultimate(self, features: Sequence[Tensor]) -> Tensor:
        """Return all stages and the last at stride 4, joined at its resolution, (B, fine + 24, h, w)."""
        maps = [scale(f) for scale, f in zip(self.scale, features, strict=True)]
        size = size_of(maps[self.grid])
        # A 1x1 convolution and a sum commute with interpolation: at the stages' own resolution they are cheaper.
        sums: list[Tensor] = []
        for project, m in zip(self.project, maps, strict=True):
            # Stages are finest first: one of the same size comes right after.
            if sums and has_size(m, size_of(sums[-1])):
                sums[-1] = sums[-1] + project(m)
            else:
                sums.append(project(m))
        x = self.sum(sum(resize(total, size) for total in sums))
        x = self._joined([x, *(branch(x) for branch in self.branches), self.pool(maps[-1])], size)
        finest = features[self.finest]
        return torch.cat([resize(x, size_of(finest)), self.lateral(finest)], 1)

    def embed(self, penultimate: Tensor) -> Tensor:
        """Return the embedding (B, out, h, w) at stride 4, or at the finest stage's where that is coarser."""
        embedding: Tensor = self.head(self.refine(self.fuse(penultimate)))
        return embedding

    def _joined(self, parts: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Return ``join`` of the concatenated parts, each interpolated to ``size``: (B, fine, *size)."""
        first, *rest = self.join
        conv, *after = cast(nn.Sequential, first)
        weights = torch.split(cast(Tensor, conv.weight), self.width, dim=1)
        # Here, too, each part is convolved on the grid that it has.
        x = sum(resize(F.conv2d(part, weight), size) for part, weight in zip(parts, weights, strict=True))
        joined: Tensor = nn.Sequential(*after, *rest)(x)
        return joined


class Reduced(nn.Module):
    """A depth-wise 3x3 and a 1x1 on the means over ``factor`` x ``factor`` cells."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.factor, self.filter = factor, nn.Sequential(depthwise(width, 1), conv_bn(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the filtered maps (B, width, ceil(h / factor), ceil(w / factor))."""
        # Cells at the lower and right edge may be means of fewer.
        means = F.avg_pool2d(x, self.factor, ceil_mode=True, count_include_pad=False) if self.factor > 1 else x
        filtered: Tensor = self.filter(means)
        return filtered


def _last(strides: Sequence[int], stride: int) -> int:
    """Return the last stage, the deepest, of those not coarser than ``stride``; the first if all are."""
    return max((i for i, s in enumerate(strides) if s <= stride), default=0)


CARDS = (
    Card(
        "pyramid",
        "all stages of the pyramid summed at stride 8, joined with stride 4; light, the default",
        make=PyramidDecoder,
        source="after PSPNet, Zhao et al., CVPR 2017",
        options={"width": "channels of the decoder", "fine": "channels at the finest stage, by default half as many"},
    ),
)
