"""One training in several processes, one for each device: starting them, and what they have to agree about."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import lightning_fabric as lightning
import torch
from torch import Tensor, nn

from owseg._progress import logger
from owseg.data.cached import LIMIT, cached
from owseg.data.dataset import DataSet
from owseg.data.loader import read_ahead
from owseg.errors import OwsegError
from owseg.models.cores import available_cores
from owseg.training.config import LoopConfig

T = TypeVar("T")

MOST_WORKERS = 8
"""The workers of a process on a GPU for which no number is given, at most."""


def launched(config: LoopConfig) -> lightning.Fabric:
    """Return the Fabric of a training on ``config.devices``, its processes started; all but the first log nothing.

    Raises ``OwsegError`` for more GPUs than there are.
    """
    if torch.cuda.is_available() and config.devices > torch.cuda.device_count():
        raise OwsegError(f"there are {torch.cuda.device_count()} GPUs, not {config.devices}; set fewer devices.")
    fabric = lightning.Fabric(devices=config.devices, precision=config.precision)  # type: ignore[arg-type]
    fabric.launch()
    if not fabric.is_global_zero:  # they do and meet the same, which one of them says
        logger.setLevel(logging.CRITICAL + 1)
    return fabric


def is_first_process() -> bool:
    """Return whether this process is the first of a training, or the only one: the one that stores and prints.

    With several ``devices`` Fabric starts the script once more for each; all of them return from a training with the
    same result.
    """
    group = torch.distributed
    return not (group.is_available() and group.is_initialized()) or group.get_rank() == 0


@dataclass(frozen=True, eq=False)
class Process:
    """One of the ``count`` processes of a training: which images it takes, and what it tells the others.

    Its ``workers`` read images ahead for it (see ``read_ahead``); its tensors are on ``device``. What speaks of all
    processes has to be called in all of them, in the same order.
    """

    rank: int = 0
    count: int = 1
    workers: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def of(cls, fabric: lightning.Fabric, config: LoopConfig) -> Process:
        """Return this process of a training."""
        workers = config.workers if config.workers >= 0 else _workers_for(fabric.device, fabric.world_size)
        return cls(fabric.global_rank, fabric.world_size, workers, fabric.device)

    def numbers(self, count: int) -> range:
        """Return those of the numbers below ``count`` that this process takes: it takes turns with the others."""
        return range(self.rank, count, self.count)

    def read(self, read: Callable[[int], T], count: int) -> Iterator[T]:
        """Yield ``read(number)`` for each of ``numbers(count)``, read ahead by the workers."""
        return read_ahead(read, self.numbers(count), self.workers)

    def cached(self, data: DataSet) -> DataSet:
        """Return ``data`` with decoded images kept in memory, the same for the workers (see ``owseg.data.cached``).

        The processes share the memory that one alone has.
        """
        return cached(data, LIMIT // self.count, shared=self.workers > 0)

    def gathered(self, compute: Callable[[], T]) -> list[T]:
        """Return what ``compute`` returns in each process, by rank; where it raises in one, this raises in all."""
        value, error = _tried(compute)
        if self.count == 1:
            return [_unless(error, value)]
        found = _all_gathered((value, None if error is None else self._said(error)))
        _unless(error, None)
        for _, said in found:
            if said is not None:
                raise OwsegError(said)
        return [part for part, _ in found]

    def in_order(self, compute: Callable[[], list[T]]) -> list[T]:
        """Return the lists that ``compute`` returns for ``numbers(count)`` in each process as one, by number."""
        parts = self.gathered(compute)
        return [parts[i % len(parts)][i // len(parts)] for i in range(sum(map(len, parts)))]

    def mean_of(self, compute: Callable[[], list[tuple[float, int]]]) -> float:
        """Return the mean of all values, given as ``in_order`` is: of each number their sum and their count; or NaN."""
        total, count = map(sum, zip((0.0, 0), *self.in_order(compute), strict=True))
        return total / count if count else math.nan

    def agreed(self, compute: Callable[[], T]) -> T:
        """Return what ``compute`` returns; where it raises in one process, raise in all: none waits for another."""
        value, error = _tried(compute)
        if self.count > 1 and self.mean(torch.tensor(float(error is not None))):
            self.gathered(lambda: _unless(error, None))
        return _unless(error, value)

    def mean(self, value: Tensor) -> float:
        """Return the mean of a number over the processes: not finite where it is not in one of them."""
        total = value.detach().float().to(self.device)
        if self.count > 1:
            total = total.clone()
            torch.distributed.all_reduce(total)
        return total.item() / self.count

    def share_buffers(self, module: nn.Module) -> None:
        """Give ``module`` the buffers that it has in the first process, such as its batch statistics."""
        for buffer in module.buffers() if self.count > 1 else ():
            torch.distributed.broadcast(buffer, 0)

    def _said(self, error: Exception) -> str:
        """Return in one sentence what went wrong in this process."""
        if isinstance(error, OwsegError):
            return str(error)
        first = (str(error).strip() or "no more is known").splitlines()[0]
        return f"process {self.rank + 1} of {self.count} failed with {type(error).__name__}: {first}"


ALONE = Process()
"""The only process."""


def synchronized(module: nn.Module, fabric: lightning.Fabric) -> nn.Module:
    """Return ``module`` with batch statistics over all processes, where there are several; torch can on GPUs alone.

    On CPUs each process normalises with the statistics of its own images; the running ones are the first process's.
    """
    if fabric.world_size == 1 or fabric.device.type != "cuda":
        return module
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    return converted


def _workers_for(device: torch.device, processes: int) -> int:
    """Return a number of workers: none on a CPU, whose cores the training takes, nor on macOS, where forks may fail."""
    if device.type != "cuda":
        return 0
    return min(MOST_WORKERS, available_cores() // processes)


def _tried(compute: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return compute(), None
    except Exception as error:
        return None, error


def _unless(error: Exception | None, value: T | None) -> T:
    """Return ``value``, or raise ``error``."""
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


def _all_gathered(value: Any) -> list[Any]:
    """Return the ``value`` of each process, sent through the memory of the machine: a GPU's may be too small."""
    distributed, group = torch.distributed, None
    if distributed.get_backend() != "gloo":
        group = distributed.new_group(backend="gloo")
    found = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, value, group)
    if group is not None:
        distributed.destroy_process_group(group)
    return found
