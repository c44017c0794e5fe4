"""One training in several processes, one for each device: starting them, and what they have to agree about."""

from __future__ import annotations

import lightning_fabric as lightning
import torch
from torch import Tensor, nn

from owseg.training.config import LoopConfig


def launched(config: LoopConfig) -> lightning.Fabric:
    """Return the Fabric of a training on ``config.devices``, its processes started."""
    fabric = lightning.Fabric(devices=config.devices, precision=config.precision)  # type: ignore[arg-type]
    fabric.launch()
    return fabric


def is_first_process() -> bool:
    """Return whether this process is the first of a training, or the only one: the one that stores and prints.

    With several ``devices`` Fabric starts the script once more for each; all of them return from a training with the
    same result.
    """
    group = torch.distributed
    return not (group.is_available() and group.is_initialized()) or group.get_rank() == 0


def synchronized(module: nn.Module, fabric: lightning.Fabric) -> nn.Module:
    """Return ``module`` with batch statistics over all processes, where there are several; torch can on GPUs alone."""
    if fabric.world_size == 1 or fabric.device.type != "cuda":
        return module
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    return converted


def finite_everywhere(fabric: lightning.Fabric, loss: Tensor) -> bool:
    """Return whether the loss of every process is finite: if one stopped alone, the others would wait for it."""
    bad = (~torch.isfinite(loss.detach())).float()
    return not fabric.all_reduce(bad, reduce_op="sum").item()  # type: ignore[union-attr]
