"""The residual pattern of RPL (Liu et al., ICCV 2023): it makes a frozen segmenter give outliers low evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from owseg.models.network import Network
from owseg.models.ops import conv_bn, depthwise, resize
from owseg.types import Output


def residual_of(network: Network, **config: Any) -> ResidualPattern:
    """Return an untrained residual pattern for ``network``; ``config`` has the options of ``ResidualPattern``."""
    return ResidualPattern(network.backbone.channels, network.classifier.embedding_channels, **config)


class ResidualPattern(nn.Module):
    """Pyramid -> residual (B, D, h, w), to be added to the frozen embedding before the frozen classifier reads it.

    Atrous spatial pyramid pooling of the coarsest map, joined with a projection of the map at ``skip`` (an index into
    the pyramid), makes the ``pattern``; a 1x1 convolution maps it to the ``out`` = D channels of the embedding. It is
    zero at first, so an untrained residual changes nothing. ``project`` is CoroCL's, for training only.
    """

    def __init__(
        self,
        channels: Sequence[int],
        out: int,
        skip: int = 1,
        width: int = 64,
        rates: Sequence[int] = (3, 6, 12),
        contrast: int = 64,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"skip": skip, "width": width, "rates": list(rates), "contrast": contrast}
        self.skip, deep = skip, channels[-1]
        # RPL starts from a copy of the segmenter's ASPP, which only some networks have; this reads any pyramid.
        self.branches = nn.ModuleList(
            [conv_bn(deep, width)] + [nn.Sequential(conv_bn(deep, width), depthwise(width, rate)) for rate in rates]
        )
        # Without batch norm: a pooled map has one value per image, too few for batch statistics.
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(deep, width, 1), nn.ReLU())
        self.bottleneck = conv_bn(width * (len(rates) + 2), width)
        self.lateral = conv_bn(channels[skip], width // 2)
        self.join = nn.Sequential(depthwise(width + width // 2, 1), conv_bn(width + width // 2, width))
        # The release starts it Kaiming-normal; from zero, the frozen logits are where training begins.
        self.final = nn.Conv2d(width, out, 1)
        nn.init.zeros_(self.final.weight)
        nn.init.zeros_(self.final.bias)  # type: ignore[arg-type]
        self.project = nn.Conv2d(width, contrast, 1)

    def pattern(self, features: Sequence[Tensor]) -> Tensor:
        """Return the features of which the residual is a linear map, (B, width, h, w), on the grid at ``skip``."""
        deep, fine = features[-1], features[self.skip]
        maps = [branch(deep) for branch in self.branches]
        maps.append(self.pool(deep).expand(-1, -1, *deep.shape[-2:]))
        coarse = resize(self.bottleneck(torch.cat(maps, 1)), (fine.shape[-2], fine.shape[-1]))
        joined: Tensor = self.join(torch.cat([coarse, self.lateral(fine)], 1))
        return joined

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return the residual (B, D, h, w)."""
        residual: Tensor = self.final(self.pattern(features))
        return residual

    def added(self, network: Network, output: Output) -> Tensor:
        """Return the evidence for each class, (B, K, h, w), with the residual added to the embedding of ``output``."""
        # The pattern's grid is that of a stage, the embedding's that of the decoder.
        residual = resize(self(output.features), (output.embedding.shape[-2], output.embedding.shape[-1]))
        return network.classifier.evidence((output.embedding + residual).float())

    def contrast(self, pattern: Tensor) -> Tensor:
        """Return the pattern projected to the space of CoroCL, of length 1 at every pixel, (B, contrast, h, w)."""
        return F.normalize(self.project(pattern).float(), dim=1)  # squares of 16-bit floats lose too many digits
