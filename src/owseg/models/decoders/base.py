"""What a decoder is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from owseg.errors import OwsegError


class Decoder(nn.Module, ABC):
    """Pyramid, one (B, C_i, h_i, w_i) a stage, finest first -> embedding (B, D, h, w)."""

    kind: str

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """What ``make_decoder`` needs besides the pyramid, ``kind`` among it; plain JSON."""

    @abstractmethod
    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return the embedding (B, D, h, w)."""

    def widened(self, out: int) -> Decoder:
        """Return a copy with ``out`` channels, of which the first D are as before and the others start at zero.

        A metric space grows by a dimension with each class (DMLNet, Sec. 4.3). Raises ``OwsegError`` for a decoder whose
        last layer cannot grow: it goes with a linear classifier, which grows instead.
        """
        raise OwsegError(f"a {self.kind} decoder does not grow; learn by the probe.")
