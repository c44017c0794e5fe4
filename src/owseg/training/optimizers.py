"""Optimizers and schedules of learning rates by their names in ``LoopConfig``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, PolynomialLR

from owseg.training.config import LoopConfig

MOMENTUM, POWER = 0.9, 0.9
"""The momentum of "sgd" and the exponent of "poly", as in DMLNet's and RPL's code."""


def made_optimizer(
    parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
    config: LoopConfig,
    betas: tuple[float, float] = (0.9, 0.999),
) -> torch.optim.Optimizer:
    """Return the optimizer of ``config`` over parameters, or groups of them that may have an ``lr`` of their own.

    ``betas`` are those of "adamw", whose decay acts on the weights, and of "adam", whose decay is an L2 penalty.
    """
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, config.lr, MOMENTUM, weight_decay=config.weight_decay)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, config.lr, betas, weight_decay=config.weight_decay)


def made_schedule(optimizer: torch.optim.Optimizer, config: LoopConfig, steps: int) -> LRScheduler:
    """Return the schedule of ``config`` over ``steps`` steps; the rate of each group is its highest.

    "cycle" rises in the first fifth and then falls to almost 0; "poly" is ``lr (1 - step / steps)^0.9``.
    """
    if config.schedule == "poly":
        return PolynomialLR(optimizer, steps, POWER)
    peaks = [group["lr"] for group in optimizer.param_groups]
    cycle = max(6, steps)  # of 5 steps the ascent would last none, and OneCycleLR divides by that
    return OneCycleLR(optimizer, peaks, total_steps=cycle, pct_start=0.2)
