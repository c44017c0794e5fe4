"""Batches for training: which images, in which order, as what views."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from owseg.errors import OwsegError
from owseg.training.config import LoopConfig

View: TypeAlias = Callable[[int, int, np.random.Generator], tuple[Tensor, ...]]
"""(epoch, image number, random generator) -> the tensors that the loss needs of an image, each of a fixed shape.

All that is random in it comes from the generator.
"""


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches that process ``rank`` of ``ranks`` trains on: a ``view`` of each of ``images`` images, stacked.

    The images come in a random order; a last, incomplete batch is left out. What is random depends on the seed, the
    epoch and the image alone, so a run that is resumed goes on as if it had never stopped. Raises ``OwsegError`` where
    the images do not fill one batch for each process.
    """

    images: int
    view: View
    config: LoopConfig
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        if not self.steps:
            batch, ranks = self.config.batch, self.ranks
            every = f"{ranks} batches of {batch}" if ranks > 1 else f"a batch of {batch}"
            raise OwsegError(f"{self.images} images do not fill {every}; give more, or lower the batch size.")

    @property
    def steps(self) -> int:
        """The number of batches in an epoch."""
        return self.images // (self.config.batch * self.ranks)

    def of(self, epoch: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield the batches of ``epoch``, counted from 0: what ``view`` returns, stacked."""
        seed, batch = self.config.seed, self.config.batch
        order = np.random.default_rng([seed, epoch]).permutation(self.images)
        for step in range(self.steps):
            # The processes take turns, so that together they see what one process sees in batches as large.
            start = (step * self.ranks + self.rank) * batch
            mine = order[start : start + batch].tolist()
            views = [self.view(epoch, i, np.random.default_rng([seed, epoch, i])) for i in mine]
            yield tuple(_stacked(part) for part in zip(*views, strict=True))


def _stacked(parts: tuple[Tensor, ...]) -> Tensor:
    stack = torch.stack(parts)
    # Convolutions on a CPU are faster on images with the channels last.
    return stack.contiguous(memory_format=torch.channels_last) if stack.ndim == 4 else stack
