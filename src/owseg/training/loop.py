"""The loop that every training runs: epochs, validation, checkpoints, the best weights."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightning_fabric as lightning
import numpy as np
import torch
from torch import Tensor, nn

from owseg._progress import progress
from owseg.errors import OwsegError
from owseg.training.checkpoint import Checkpoint, RunLog
from owseg.training.config import LoopConfig
from owseg.training.input import Batches
from owseg.training.optimizers import made_schedule
from owseg.training.processes import synchronized

State = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Task:
    """What is trained, on what, and how it is measured.

    ``objective`` returns the loss of a batch, and ``optimizer`` minimises it. ``validate()`` returns the ``metric`` of
    ``kept``, higher is better; its best weights are what the training returns. ``after_step`` is called after each step
    of the optimizer. ``title`` stands beside the progress. With several processes, ``validate`` is called in all, with
    the same weights, and returns the same in all.
    """

    objective: nn.Module
    optimizer: torch.optim.Optimizer
    batches: Batches
    kept: nn.Module
    validate: Callable[[], float]
    metric: str
    after_step: Callable[[], None] = lambda: None
    title: str = "training"


def loop(fabric: lightning.Fabric, task: Task, config: LoopConfig, checkpoint: Checkpoint) -> tuple[State, float]:
    """Train and return the best weights of ``task.kept``, on the CPU, and their ``task.metric``; in every process.

    Learning rates follow ``config.schedule``. Every ``config.validate_every`` epochs, and after the last, the weights
    are validated and the checkpoint is written. What goes wrong in one process ends all of them. Raises ``OwsegError``
    for a loss that is not finite, a metric that is NaN and a disk that is full.
    """
    process, steps = task.batches.process, task.batches.steps * config.epochs
    schedule = made_schedule(task.optimizer, config, steps)
    objective, optimizer = fabric.setup(synchronized(task.objective, fabric), task.optimizer)
    state: dict[str, Any] = {
        "objective": objective, "optimizer": optimizer, "schedule": schedule, "epoch": 0,
        "best": _weights_of(task.kept), "best_score": -1.0,
    }  # fmt: skip
    checkpoint.run.mkdir(parents=True, exist_ok=True)
    if checkpoint.resume:
        checkpoint.load(fabric, state)
    column = f"val_{task.metric.replace(' ', '_').lower()}"
    log = RunLog(checkpoint.run, ("loss", "seconds", column), state["epoch"]) if fabric.is_global_zero else None
    shown = progress(task.title, steps, done=state["epoch"] * task.batches.steps)
    with warnings.catch_warnings(), shown if fabric.is_global_zero else nullcontext(_unseen) as bar:
        # Of kernels with one channel, whose strides are the same memory written in two ways.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")

        def tick(loss: float) -> None:
            at = f"epoch {state['epoch'] + 1}/{config.epochs}"
            bar(f"{at}  loss {loss:.3f}  val {task.metric} {state['best_score']:.3f}")

        for epoch in range(state["epoch"], config.epochs):
            row = _epoch(fabric, task, state, config.seed, tick)
            state["epoch"] = epoch + 1
            is_due = (epoch + 1) % config.validate_every == 0 or epoch + 1 == config.epochs
            if is_due:
                row[column] = score = _validated(task)
                if score > state["best_score"]:
                    state["best_score"], state["best"] = score, _weights_of(task.kept)
            process.agreed(partial(_write, log, checkpoint if is_due else None, state, row))
    best = {name: value.cpu() for name, value in state["best"].items()}
    result: tuple[State, float] = fabric.broadcast((best, state["best_score"]))
    return result


def _epoch(
    fabric: lightning.Fabric, task: Task, state: dict[str, Any], seed: int, tick: Callable[[float], None]
) -> dict[str, float]:
    """Take the steps of the next epoch and return its mean loss and its seconds."""
    epoch, steps = state["epoch"], task.batches.steps
    # Seeded anew in every epoch, so that a run that is resumed draws what one that was never stopped draws.
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
    state["objective"].train()
    started, total = time.perf_counter(), 0.0
    batches = task.batches.of(epoch)
    for _ in range(steps):
        loss = _step(fabric, task, state, batches)
        total += loss
        tick(loss)
    next(batches, None)  # which ends the workers
    return {"loss": total / steps, "seconds": time.perf_counter() - started}


def _step(fabric: lightning.Fabric, task: Task, state: dict[str, Any], batches: Iterator[tuple[Tensor, ...]]) -> float:
    """Take a step with the next batches and return its loss, the mean over batches and processes."""
    objective, optimizer, process = state["objective"], state["optimizer"], task.batches.process
    count, total = task.batches.config.accumulate_grad_batches, 0.0
    optimizer.zero_grad(set_to_none=True)
    for number in range(count):
        batch = process.agreed(partial(next, batches))
        with fabric.no_backward_sync(objective, enabled=number < count - 1):
            loss = objective(*fabric.to_device(batch)) / count
            total += process.mean(loss)
            if not math.isfinite(total):
                raise OwsegError(f"the loss is not finite in epoch {state['epoch'] + 1}; lower the learning rate.")
            fabric.backward(loss)
    optimizer.step()
    state["schedule"].step()
    task.after_step()
    return total


def _validated(task: Task) -> float:
    """Return the score, the same in every process; raise ``OwsegError`` if it is NaN."""
    task.kept.eval()
    task.batches.process.share_buffers(task.kept)  # each was trained on other images
    score = task.validate()
    if math.isnan(score):
        raise OwsegError(f"the validation images have no pixels to compute {task.metric} from; give others.")
    return score


def _write(
    log: RunLog | None, checkpoint: Checkpoint | None, state: Mapping[str, Any], row: Mapping[str, float]
) -> None:
    """Write what was measured in an epoch and, with a ``checkpoint``, the state; without a log nothing."""
    if log is None:
        return
    if checkpoint is not None:
        checkpoint.save(state)
    log.write(state["epoch"], row)


def _unseen(note: str) -> None:
    """Show nothing."""


def _weights_of(module: nn.Module) -> State:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
