"""The base class of scorers that are fitted to labelled images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from owseg.errors import OwsegError
from owseg.types import Output, Scorer

if TYPE_CHECKING:
    from typing_extensions import Self


class FittedScorer(nn.Module, ABC):
    """A ``Scorer`` that is fitted to labelled images; its state is buffers, so ``state_dict`` has all of it.

    ``config`` has the arguments that make a module into which this one's ``state_dict`` can be loaded; plain JSON.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config, self._is_fitted = config, False

    @abstractmethod
    def fit(
        self, train: Iterable[tuple[Output, Tensor]], held_out: Iterable[tuple[Output, Tensor]] | None = None
    ) -> Self:
        """Fit to outputs and their targets (B, H, W) of class ids, and return self.

        ``train`` are images that the network was trained on, ``held_out`` others, for scorers that need both.
        """

    @abstractmethod
    def forward(self, output: Output) -> Tensor:
        """Return the score (B, h, w) float32; raise ``OwsegError`` before a fit."""

    def require_fit(self, state: Tensor) -> None:
        """Raise ``OwsegError`` where ``state``, a buffer that a fit leaves other than zero, is all zeros."""
        # Looked at once, as a GPU would have to be waited for each time.
        self._is_fitted = self._is_fitted or bool(state.any())
        if not self._is_fitted:
            raise OwsegError("this scorer is not fitted; call fit, or load the state of one that is.")

    def parts(self) -> Mapping[str, Scorer]:
        """Return the fitted scorers that this one is made of, by name; whoever has this one has those too."""
        return {}
