"""What a scorer is that has to be fitted first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from owseg.types import Output, Scorer

if TYPE_CHECKING:
    from typing_extensions import Self


class FittedScorer(nn.Module, ABC):
    """A ``Scorer`` that takes its state from labelled images; the state is buffers, so that ``state_dict`` carries it.

    ``config`` are the arguments that make a module into which the ``state_dict`` of this one fits; plain JSON.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def fit(
        self, train: Iterable[tuple[Output, Tensor]], held_out: Iterable[tuple[Output, Tensor]] | None = None
    ) -> Self:
        """Fit to outputs and their targets (B, H, W) of class ids, and return self.

        ``train`` are images that the network was trained on, ``held_out`` others, where a scorer tells them apart.
        """

    @abstractmethod
    def forward(self, output: Output) -> Tensor:
        """Return the score (B, h, w) float32; raise ``OwsegError`` before a fit."""

    def parts(self) -> Mapping[str, Scorer]:
        """Return the fitted scorers that this one is made of, by name, which come with it."""
        return {}
