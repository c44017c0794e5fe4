"""Outliers that are shown in training: which of them, and how they get into an image."""

from __future__ import annotations

import numpy as np

from owseg.data.copy_paste import paste
from owseg.data.outliers import Outliers
from owseg.training.config import ResidualConfig, TrainConfig
from owseg.types import Sample


def pasted(
    sample: Sample, outliers: Outliers, config: ResidualConfig | TrainConfig, rng: np.random.Generator
) -> Sample:
    """Return ``sample`` with ``config.pasted`` random outliers in it."""
    for _ in range(config.pasted):
        sample = paste(sample, outliers.read(int(rng.integers(len(outliers)))), rng, config.sizes, config.feather)
    return sample


def set_aside(outliers: Outliers, every: int = 8) -> tuple[Outliers, Outliers]:
    """Return the outliers to train on and those that validation pastes: every eighth, or the last of fewer.

    A single one serves both.
    """
    numbers = range(len(outliers))
    held = [i for i in numbers if i % every == every - 1] or list(numbers[-1:])
    kept = [i for i in numbers if i not in held] or held
    return outliers.pick(kept), outliers.pick(held)
