"""Batches for training: which images, in which order, as what views."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from owseg.data.loader import read_ahead
from owseg.errors import OwsegError
from owseg.training.config import LoopConfig
from owseg.training.processes import ALONE, Process

View: TypeAlias = Callable[[int, int, np.random.Generator], tuple[Tensor, ...]]
"""(epoch, image number, random generator) -> the tensors that the loss needs of an image, each of a fixed shape.

All that is random in it comes from the generator. It may be called in a worker (see ``read_ahead``).
"""

Finish: TypeAlias = Callable[[int, int, tuple[Tensor, ...]], tuple[Tensor, ...]]
"""(epoch, image number, what the view is) -> the tensors that the loss needs, made in the process that trains."""


def as_viewed(epoch: int, i: int, view: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return ``view``: the ``Finish`` where a view is all that the loss needs."""
    return view


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches that a ``process`` trains on: a ``view`` of each of ``images`` images, finished and stacked.

    The images come in a random order; a last step that is not complete, of ``accumulate_grad_batches`` batches of each
    process, is left out. What is random depends on the seed, the epoch and the image alone, so a run that is resumed
    goes on as if it had never stopped. The workers of the process read up to two batches ahead, or two views each.
    Raises ``OwsegError`` where the images do not fill one step.
    """

    images: int
    view: View
    config: LoopConfig
    process: Process = ALONE
    finish: Finish = as_viewed

    def __post_init__(self) -> None:
        if not self.steps:
            batch, count = self.config.batch, self.process.count * self.config.accumulate_grad_batches
            every = f"{count} batches of {batch}" if count > 1 else f"a batch of {batch}"
            raise OwsegError(
                f"{self.images} images do not fill {every}; give more, or lower the batch size (--set batch=N)."
            )

    @property
    def steps(self) -> int:
        """The number of steps in an epoch."""
        return self.images // (self.config.batch * self.process.count * self.config.accumulate_grad_batches)

    def of(self, epoch: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield the batches of ``epoch``, counted from 0: what ``finish`` returns, stacked."""
        seed, batch, process = self.config.seed, self.config.batch, self.process
        order = np.random.default_rng([seed, epoch]).permutation(self.images)
        # The processes take turns, so that together they see what one process sees in batches as large.
        starts = process.numbers(self.steps * process.count * self.config.accumulate_grad_batches)
        mine = [i for number in starts for i in order[number * batch : (number + 1) * batch].tolist()]
        views = read_ahead(
            lambda i: self.view(epoch, i, np.random.default_rng([seed, epoch, i])), mine, process.workers, 2 * batch
        )
        parts: list[tuple[Tensor, ...]] = []
        for i, view in zip(mine, views, strict=True):
            parts.append(self.finish(epoch, i, view))
            if len(parts) == batch:
                yield tuple(_stacked(part) for part in zip(*parts, strict=True))
                parts = []


def _stacked(parts: tuple[Tensor, ...]) -> Tensor:
    stack = torch.stack(parts)
    # Convolutions on a CPU are faster on images with the channels last.
    return stack.contiguous(memory_format=torch.channels_last) if stack.ndim == 4 else stack
