"""The loop that every training runs: epochs, logs, checkpoints, the best weights; and going on where one stopped."""

from __future__ import annotations

import csv
import math
import pickle
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import lightning_fabric as lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from owseg._progress import progress
from owseg.errors import OwsegError


def loop(
    fabric: lightning.Fabric,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: Any,
    run: Path,
    *,
    steps: int,
    batches: Callable[[int], Iterable[tuple[Tensor, ...]]],
    kept: nn.Module,
    validate: Callable[[], float],
    figure: str,
    what: str,
    resume: bool = False,
    after_step: Callable[[], None] = lambda: None,
    **more: Any,
) -> tuple[dict[str, Tensor], float]:
    """Train and return the weights of ``kept`` that ``validate`` found best, and its verdict.

    Each epoch takes ``steps`` batches of ``batches(epoch)``; ``objective`` makes a loss of one. Learning rates follow
    one cycle. Every ``config.validate_every`` epochs ``validate()`` gives the ``figure`` (higher is better), and
    ``run/last.ckpt`` is written, with ``more`` in it; ``what`` says what is trained, and only the same is resumed.
    Raises ``OwsegError`` for a loss that is not finite, a verdict that is NaN and a disk that is full. Processes but
    the first end here.
    """
    peaks = [group["lr"] for group in optimizer.param_groups]
    cycle = max(6, steps * config.epochs)  # of 5 steps the ascent would last none, and OneCycleLR divides by that
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=cycle, pct_start=0.2)
    objective, optimizer = fabric.setup(objective, optimizer)
    state: dict[str, Any] = {
        "objective": objective, "optimizer": optimizer, "schedule": schedule, "epoch": 0, "what": what,
        "best": _copy(kept), "verdict": -1.0, **more,
    }  # fmt: skip
    if resume:
        _resume(fabric, run / "last.ckpt", state)
    name = f"val_{figure.replace(' ', '_').lower()}"
    write = _log(run, ("loss", "seconds", name), fabric.is_global_zero, state["epoch"])
    with progress("training", steps * config.epochs, done=state["epoch"] * steps) as tick:
        for epoch in range(state["epoch"], config.epochs):
            torch.manual_seed(int(np.random.SeedSequence([config.seed, epoch]).generate_state(1)[0]))
            objective.train()
            started, total = time.perf_counter(), 0.0
            for batch in batches(epoch):
                loss = objective(*fabric.to_device(batch))
                if not torch.isfinite(loss):
                    raise OwsegError(f"the loss is {loss.item()} in epoch {epoch + 1}; lower the learning rate.")
                optimizer.zero_grad(set_to_none=True)
                fabric.backward(loss)
                optimizer.step()
                schedule.step()
                after_step()
                total += loss.item()
                tick(f"epoch {epoch + 1}/{config.epochs}  loss {loss.item():.3f}  val {figure} {state['verdict']:.3f}")
            state["epoch"] = epoch + 1
            row = {"loss": total / steps, "seconds": time.perf_counter() - started}
            if (epoch + 1) % config.validate_every == 0 or epoch + 1 == config.epochs:
                kept.eval()
                row[name] = validate()
                if math.isnan(row[name]):
                    raise OwsegError(f"the images to validate on show nothing to judge by ({figure}); give others.")
                if row[name] > state["verdict"]:
                    state["verdict"], state["best"] = row[name], _copy(kept)
                _save(fabric, run / "last.ckpt", state)
            write(epoch + 1, row)
    if not fabric.is_global_zero:
        raise SystemExit(0)  # what comes after training is done once
    return state["best"], state["verdict"]


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _save(fabric: lightning.Fabric, path: Path, state: dict[str, Any]) -> None:
    """Write the checkpoint aside and rename it, so that a full disk or a kill leaves the one before."""
    aside = path.with_name(path.name + ".new")
    try:
        fabric.save(aside, state)
        if fabric.is_global_zero:
            aside.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        aside.unlink(missing_ok=True)
        reason = str(error).splitlines()[0]
        raise OwsegError(f"{path} cannot be written ({reason}); make room and go on with --resume.") from None


def _resume(fabric: lightning.Fabric, path: Path, state: dict[str, Any]) -> None:
    """Fill ``state`` from a checkpoint of the same ``state["what"]``.

    Raises ``OwsegError`` if there is none, if it is damaged, or if it was made with other settings or data.
    """
    if not path.is_file():
        raise OwsegError(f"{path} does not exist; there is no run to resume.")
    try:
        found = torch.load(path, map_location="cpu", mmap=True, weights_only=True).get("what")
    except (RuntimeError, OSError, pickle.UnpicklingError, AttributeError):
        raise OwsegError(f"{path} is no checkpoint, or a damaged one; train from the start.") from None
    if found != state["what"]:
        raise OwsegError(f"{path} was made with other settings or data ({found}); resume with the same ones.")
    fabric.load(path, state, weights_only=True)


def _log(run: Path, fields: Sequence[str], active: bool, done: int) -> Callable[[int, dict[str, float]], None]:
    """Return a function that adds an epoch's figures to ``metrics.csv`` and TensorBoard, after ``done`` epochs.

    ``fields`` names the figures, without the epoch; a process that is not ``active`` writes nothing.
    """
    if not active:
        return lambda epoch, row: None
    path, columns = run / "metrics.csv", ["epoch", *fields]
    kept = []
    if done and path.exists():
        with path.open(newline="") as file:
            kept = [row for row in csv.DictReader(file) if int(row["epoch"]) <= done]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(kept)
    board = SummaryWriter(str(run), purge_step=done + 1)

    def write(epoch: int, row: dict[str, float]) -> None:
        with path.open("a", newline="") as file:
            csv.DictWriter(file, columns).writerow({"epoch": epoch, **{k: f"{v:.6g}" for k, v in row.items()}})
        for name, value in row.items():
            board.add_scalar(name, value, epoch)
        board.flush()

    return write
