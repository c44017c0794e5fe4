"""A decoder and, beside it, one of the negative class: what a finished network gets by ``owseg train-negative``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from owseg._registry import Card
from owseg.models.decoders import DECODERS
from owseg.models.decoders.base import Decoder
from owseg.models.ops import resize


class BesideDecoder(Decoder):
    """What ``known`` returns and, as the last channel, what ``negative`` does: pyramid -> (B, out, h, w).

    The two share no weight, so that what is known stays as it is to the bit, whatever the other learns.
    """

    kind = "beside"

    def __init__(self, known: Decoder, negative: Decoder) -> None:
        super().__init__()
        self.known, self.negative = known, negative

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of ``make_decoder`` besides the pyramid; plain JSON."""
        return {"kind": self.kind, "known": self.known.config, "negative": self.negative.config}

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return the embedding and the negative channel, on the grid of the embedding."""
        embedding, negative = self.known(features), self.negative(features)
        return torch.cat([embedding, resize(negative, (embedding.shape[-2], embedding.shape[-1]))], 1)

    def widened(self, out: int) -> Decoder:
        """Return ``known`` with ``out`` channels: a learned class has no part in the negative one."""
        return self.known.widened(out)


def beside(known: Decoder, channels: Sequence[int], strides: Sequence[int], width: int = 64) -> BesideDecoder:
    """Return ``known`` and an untrained decoder of ``width`` channels, which starts at zero."""
    negative = DECODERS["pyramid"].make(channels, strides, 1, width=width, fine=width // 2)
    assert isinstance(negative.head, nn.Conv2d) and negative.head.bias is not None
    nn.init.zeros_(negative.head.weight)
    nn.init.zeros_(negative.head.bias)
    return BesideDecoder(known, negative)


def _make(
    channels: Sequence[int], strides: Sequence[int], out: int, known: dict[str, Any], negative: dict[str, Any]
) -> BesideDecoder:
    sizes = zip((known, negative), (out - 1, 1), strict=True)
    made = [DECODERS[part["kind"]].make(channels, strides, n, **_options(part)) for part, n in sizes]
    return BesideDecoder(*made)


def _options(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "kind"}


CARDS = (
    Card("beside", "a decoder and, beside it, one of the negative class (see `owseg train-negative`)", make=_make),
)
