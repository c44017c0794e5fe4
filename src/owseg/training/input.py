"""Batches for training: images decoded once, views stacked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.training.config import LoopConfig
from owseg.types import Sample

View: TypeAlias = Callable[[int, np.random.Generator], tuple[Tensor, ...]]
"""Number of an image, and all that may be random -> the tensors that the loss needs of it, each of one shape."""


def in_memory(data: DataSet, limit: int = 4 << 30) -> Callable[[int], Sample]:
    """Return ``data[i]`` as a function that decodes each image once, as long as all fit into ``limit`` bytes.

    The function raises ``OwsegError`` for an image without a mask.
    """
    cache: dict[int, Sample] = {}
    room = limit // max(1, 4 * data[0].image[0].size)  # three channels and a target, a byte each

    def sample_at(i: int) -> Sample:
        if i in cache:
            return cache[i]
        sample = data[i]
        if sample.target is None:
            raise OwsegError(f"{sample.id} has no mask; training needs one for every image.")
        if len(cache) < room:
            cache[i] = sample
        return sample

    return sample_at


def batches(
    count: int, view: View, config: LoopConfig, epoch: int, rank: int = 0, ranks: int = 1
) -> Iterator[tuple[Tensor, ...]]:
    """Yield the batches of one epoch of ``count`` images that belong to process ``rank`` of ``ranks``.

    The images come in a random order; a last, incomplete batch is left out. What is random depends on the seed, the
    epoch and the image alone, so a run that is resumed goes on as if it had never stopped.
    """
    order = np.random.default_rng([config.seed, epoch]).permutation(count)
    stride = config.batch * ranks
    for start in range(0, count - stride + 1, stride):
        mine = order[start + rank * config.batch :][: config.batch]
        views = [view(int(i), np.random.default_rng([config.seed, epoch, int(i)])) for i in mine]
        yield tuple(_stacked(part) for part in zip(*views, strict=True))


def steps_of(count: int, config: LoopConfig, ranks: int) -> int:
    """Return the number of batches that ``batches`` yields; raise ``OwsegError`` if there is none."""
    steps = count // (config.batch * ranks)
    if not steps:
        every = f"{ranks} batches of {config.batch}" if ranks > 1 else f"a batch of {config.batch}"
        raise OwsegError(f"{count} images do not fill {every}; give more, or lower the batch size.")
    return steps


def _stacked(parts: tuple[Tensor, ...]) -> Tensor:
    stack = torch.stack(parts)
    return stack.contiguous(memory_format=torch.channels_last) if stack.ndim == 4 else stack
