"""What a training leaves in its run directory: a checkpoint to resume from, and the figures of each epoch."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning_fabric as lightning
import torch
from torch.utils.tensorboard import SummaryWriter

from owseg.errors import OwsegError

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true")
"""The precisions that training can be asked for; the mixed ones keep the weights in 32 bits."""


def check_settings(config: Any) -> None:
    """Raise ``OwsegError`` for settings that no training can run with (those that all kinds of training share)."""
    least = {"epochs": 1, "batch": 1, "devices": 1, "validate_every": 1, "seed": 0}
    for name, limit in least.items():
        if getattr(config, name) < limit:
            raise OwsegError(f"{name} is {limit} or more, not {getattr(config, name)}.")
    if min(config.crop) < 32:
        raise OwsegError(f"a training view is at least 32x32 pixels, not {config.crop[0]}x{config.crop[1]}.")
    if config.precision not in PRECISIONS:
        raise OwsegError(f"there is no precision {config.precision!r}; it is one of {', '.join(PRECISIONS)}.")


def save(fabric: lightning.Fabric, path: Path, state: dict[str, Any]) -> None:
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


def resume(fabric: lightning.Fabric, path: Path, state: dict[str, Any]) -> None:
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


def log(run: Path, fields: Sequence[str], active: bool, done: int) -> Callable[[int, dict[str, float]], None]:
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
