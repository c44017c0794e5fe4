"""The base class of decoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from owseg.errors import OwsegError


class Decoder(nn.Module, ABC):
    """Pyramid, one (B, C_i, h_i, w_i) per stage, finest first -> embedding (B, D, h, w); ``kind`` is its name.

    ``embed(penultimate(features))``: the penultimate features are what the last block with an activation reads. There
    RPL adds its residual (see ``owseg.models.residual_pattern``).
    """

    kind: str

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The arguments of ``make_decoder`` besides the pyramid, ``kind`` among them; plain JSON."""

    @abstractmethod
    def penultimate(self, features: Sequence[Tensor]) -> Tensor:
        """Return what the last block reads, (B, C, h, w)."""

    def embed(self, penultimate: Tensor) -> Tensor:
        """Return the embedding (B, D, h, w) of penultimate features: here themselves."""
        return penultimate

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return the embedding (B, D, h, w)."""
        return self.embed(self.penultimate(features))

    @property
    def title(self) -> str:
        """What people read: the kind, and how many there are."""
        return self.kind

    def widened(self, out: int) -> Decoder:
        """Return a copy with ``out`` channels, of which the first D are as before and others than these start at zero.

        A metric space has one more dimension for each learned class (DMLNet, Sec. 4.3). Raises ``OwsegError`` for a
        decoder whose last layer cannot be extended.
        """
        raise OwsegError(f"a {self.kind} decoder cannot be given another output; learn with the method probe.")
