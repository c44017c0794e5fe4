"""Batches for training: frames read once, views stacked."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from owseg.data.augment import augment
from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.training.config import TrainConfig
from owseg.types import Sample


def _in_memory(data: DataSet, limit: int = 4 << 30) -> Callable[[int], Sample]:
    """Return ``data[i]`` as a function that decodes each frame once, as long as all fit into ``limit`` bytes."""
    cache: dict[int, Sample] = {}
    room = limit // max(1, 4 * data[0].image[0].size)

    def frame(i: int) -> Sample:
        if i in cache:
            return cache[i]
        sample = data[i]
        if sample.target is None:
            raise OwsegError(f"{sample.id} has no mask; training needs one for every image.")
        if len(cache) < room:
            cache[i] = sample
        return sample

    return frame


def _batches(
    frame: Callable[[int], Sample], count: int, config: TrainConfig, epoch: int, rank: int, ranks: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield this rank's batches of one epoch; the last, incomplete batch of the shuffled frames is left out."""
    order = np.random.default_rng([config.seed, epoch]).permutation(count)
    shrink = 0.5 if epoch < config.small * config.epochs else 1.0
    crop = (round(config.crop[0] * shrink), round(config.crop[1] * shrink))
    scale = (config.scale[0] * shrink, config.scale[1] * shrink)
    stride = config.batch * ranks
    for start in range(0, count - stride + 1, stride):
        mine = order[start + rank * config.batch :][: config.batch]
        views = [
            augment(frame(int(i)), crop, scale, config.jitter, np.random.default_rng([config.seed, epoch, int(i)]))
            for i in mine
        ]
        images = torch.stack([image for image, _ in views]).contiguous(memory_format=torch.channels_last)
        yield images, torch.stack([target for _, target in views])


def _stacked(views: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    if not views:
        return torch.zeros(0, 3, 1, 1), torch.zeros(0, 1, 1).long()
    images = torch.stack([image for image, _ in views]).contiguous(memory_format=torch.channels_last)
    return images, torch.stack([target for _, target in views])
