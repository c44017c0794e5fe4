"""Pyramid pooling, the decoder of DMLNet's StreetHazards network."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from owseg._registry import Card
from owseg.models.decoders.base import Decoder
from owseg.models.ops import Pool, conv_bn, resize, size_of, widened_conv


class PSPDecoder(Decoder):
    """Pyramid pooling (Zhao et al., CVPR 2017), the decoder of DMLNet's StreetHazards network.

    The coarsest map is pooled to ``bins``, each projected to ``width``; all are joined by a 3x3. Pyramid -> (B, out,
    h, w).
    """

    kind = "psp"

    def __init__(self, channels: Sequence[int], out: int, width: int = 512, bins: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.width = width
        deep = channels[-1]
        # Without batch norm, as bin 1 has one value per image; DMLNet's PSPNet has it there.
        self.pools = nn.ModuleList([nn.Sequential(Pool(b), nn.Conv2d(deep, width, 1), nn.ReLU()) for b in bins])
        self.join = nn.Sequential(conv_bn(deep + width * len(bins), width, 3), nn.Dropout2d(0.1))
        self.head = nn.Conv2d(width, out, 1)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of ``make_decoder`` besides the pyramid; plain JSON."""
        return {"kind": self.kind, "width": self.width}

    def widened(self, out: int) -> PSPDecoder:
        """Return a copy whose last convolution has ``out`` outputs; the new ones start at zero."""
        wider = copy.deepcopy(self)
        wider.head = widened_conv(self.head, out)
        return wider

    def penultimate(self, features: Sequence[Tensor]) -> Tensor:
        """Return the coarsest map and its pooled ones, on its grid."""
        deep = features[-1]
        size = size_of(deep)
        pooled = [resize(pool(deep), size) for pool in self.pools]
        return torch.cat([deep, *pooled], 1)

    def embed(self, penultimate: Tensor) -> Tensor:
        """Return the embedding (B, out, h, w) at the coarsest map's resolution."""
        embedding: Tensor = self.head(self.join(penultimate))
        return embedding


CARDS = (
    Card(
        "psp",
        "pyramid pooling of the coarsest map, as in DMLNet's StreetHazards network",
        make=lambda channels, strides, out, width=512: PSPDecoder(channels, out, width),
        source="Zhao et al., CVPR 2017",
        options={"width": "channels of the decoder"},
    ),
)
