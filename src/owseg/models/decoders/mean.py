"""A deep ensemble of decoders: the mean of what several find on one pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.models.decoders import DECODERS
from owseg.models.decoders.base import Decoder


class MeanDecoder(Decoder):
    """The mean of the members' embeddings, ``f = sum_i f_i / n``: pyramid -> (B, out, h, w).

    A deep ensemble (Lakshminarayanan et al., NeurIPS 2017) on one backbone, which runs once. The members have one
    classifier, whose prototypes or weights give their embeddings the same axes, so that a mean of them makes sense.
    Each is trained for itself (``owseg.training.segmentation.train``): decoders that learn together to be right on
    average are less different. Raises ``OwsegError`` for no member.
    """

    kind = "mean"

    def __init__(self, decoders: Sequence[Decoder]) -> None:
        super().__init__()
        if not decoders:
            raise OwsegError("a mean of decoders needs one or more.")
        self.decoders = nn.ModuleList(decoders)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of ``make_decoder`` besides the pyramid; plain JSON."""
        return {"kind": self.kind, "of": self._first.config, "count": len(self.decoders)}

    @property
    def _first(self) -> Decoder:
        return cast(Decoder, self.decoders[0])

    @property
    def title(self) -> str:
        """What people read: the kind of the members, and how many there are."""
        return f"{len(self.decoders)} x {self._first.title}"

    def widened(self, out: int) -> MeanDecoder:
        """Return the mean of the members' widened copies."""
        return MeanDecoder([cast(Decoder, decoder).widened(out) for decoder in self.decoders])

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return the mean embedding (B, out, h, w), with no copy of the members' penultimate features."""
        return torch.stack([decoder(features) for decoder in self.decoders]).mean(0)

    def penultimate(self, features: Sequence[Tensor]) -> Tensor:
        """Return the members' penultimate features, one after another, (B, n C, h, w)."""
        return torch.cat([cast(Decoder, decoder).penultimate(features) for decoder in self.decoders], 1)

    def embed(self, penultimate: Tensor) -> Tensor:
        """Return the mean embedding (B, out, h, w); each member reads its own penultimate features."""
        parts = penultimate.chunk(len(self.decoders), 1)
        each = [cast(Decoder, decoder).embed(part) for decoder, part in zip(self.decoders, parts, strict=True)]
        return torch.stack(each).mean(0)


def _make(channels: Sequence[int], strides: Sequence[int], out: int, of: Mapping[str, Any], count: int) -> MeanDecoder:
    kind, options = of["kind"], {name: value for name, value in of.items() if name != "kind"}
    return MeanDecoder([DECODERS[kind].make(channels, strides, out, **options) for _ in range(count)])


CARDS = (
    Card(
        "mean",
        "the mean of several decoders of one kind, each trained for itself",
        make=_make,
        source="Lakshminarayanan et al., NeurIPS 2017",
    ),
)
