"""What a run leaves in its folder: the state to go on from, and what was measured in each epoch."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning_fabric as lightning
import torch
from torch.utils.tensorboard import SummaryWriter

from owseg.errors import OwsegError, shown
from owseg.training.config import LoopConfig


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Where the state of a training is kept (``run/last.ckpt``), and whether to ``resume`` from there.

    ``identity`` says, as JSON, what is trained, on what and with which settings: a run of another identity is not
    resumed. ``more`` are modules whose state belongs to the run but is not known to ``loop``.
    """

    run: Path
    identity: str
    resume: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file."""
        return self.run / "last.ckpt"

    def save(self, state: Mapping[str, Any]) -> None:
        """Write ``state``, of what has a ``state_dict`` that; the first of several processes calls this.

        The file is written aside and renamed, so that a full disk or a kill leaves the one before. Raises
        ``OwsegError`` where it cannot be written.
        """
        aside = self.path.with_name(self.path.name + ".new")
        whole = {**state, **self.more, "identity": self.identity}
        try:
            torch.save({k: v.state_dict() if hasattr(v, "state_dict") else v for k, v in whole.items()}, aside)
            aside.replace(self.path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            aside.unlink(missing_ok=True)
            reason = str(error).splitlines()[0]
            way = "continue with --resume" if self.path.exists() else "train again"
            raise OwsegError(f"{self.path} cannot be written ({reason}); make room and {way}.") from None

    def load(self, fabric: lightning.Fabric, state: dict[str, Any]) -> None:
        """Fill ``state`` from the file.

        Raises ``OwsegError`` if there is none, if it is damaged, and if it is of another identity.
        """
        if not self.path.is_file():
            raise OwsegError(f"{self.path} does not exist; there is no run to resume.")
        try:
            found = torch.load(self.path, map_location="cpu", mmap=True, weights_only=True).get("identity")
        except (RuntimeError, OSError, pickle.UnpicklingError, AttributeError):
            raise OwsegError(f"{self.path} is no checkpoint, or a damaged one; train from the start.") from None
        if found != self.identity:
            what = _differing(found, self.identity)
            raise OwsegError(f"{self.path} was made with other settings or data{what}; resume with the same ones.")
        whole = {**state, **self.more, "identity": ""}
        fabric.load(self.path, whole, weights_only=True)
        state.update({name: whole[name] for name in state})


def _differing(found: object, wanted: str) -> str:
    """Return the first thing in which two identities differ, in brackets; nothing where one of them is no JSON."""
    try:
        there, here = json.loads(str(found)), json.loads(wanted)
        name = next(n for n in (*there, *here) if there.get(n) != here.get(n))
    except (ValueError, AttributeError, TypeError, StopIteration):
        return ""
    values = there.get(name), here.get(name)
    is_long = any(isinstance(value, dict | list) and len(value) > 2 for value in values)
    return f" ({shown(name)})" if is_long else f" ({shown(name)}: {shown(values[0])}, not {shown(values[1])})"


def identity_of(config: LoopConfig, **about: Any) -> str:
    """Return the identity of a run with these settings, which is ``about`` these things: JSON.

    The number of workers, which changes no result, is no part of it.
    """
    return json.dumps({**asdict(replace(config, workers=0)), **about})


class RunLog:
    """The metrics of each epoch, in ``run/metrics.csv`` and as TensorBoard events.

    ``columns`` are those of the CSV besides the epoch. Of a log that is there already, the rows of the first ``done``
    epochs stay.
    """

    def __init__(self, run: Path, columns: Sequence[str], done: int = 0) -> None:
        self.path, self.columns = run / "metrics.csv", ["epoch", *columns]
        kept = []
        if done and self.path.exists():
            with self.path.open(newline="") as file:
                kept = [row for row in csv.DictReader(file) if int(row["epoch"]) <= done]
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(kept)
        self.board = SummaryWriter(str(run), purge_step=done + 1)

    def write(self, epoch: int, row: Mapping[str, float]) -> None:
        """Add the metrics of ``epoch``, from 1; what was not measured in it is left out."""
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns).writerow({"epoch": epoch, **{k: f"{v:.6g}" for k, v in row.items()}})
        for name, value in row.items():
            self.board.add_scalar(name, value, epoch)
        self.board.flush()
