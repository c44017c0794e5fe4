"""Ctrl-C and SIGTERM: one sentence about what is done and how to go on, and the exit code of the signal."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from owseg.cli._log import last_step

SIGNALS = (signal.SIGINT, signal.SIGTERM)

GOES_ON = ("predict", "discover", "benchmark", "submit", "review")
"""Commands that continue what their output folder holds; ``evaluate`` does where it has one."""


class Stopped(KeyboardInterrupt):
    """The signal that ended a command; its exit code is 130 after Ctrl-C and 143 after SIGTERM.

    ``is_printed`` says that the command has printed what is done as JSON.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code, self.is_printed = 128 + number, False


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise ``Stopped`` for Ctrl-C and SIGTERM, so that what is open is closed; a signal that is ignored stays so.

    Only where this is the main thread, as Python asks.
    """
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a child made by fork has nothing to say
            os._exit(128 + number)
        raise Stopped(number)

    before: dict[signal.Signals, Any] = {}
    try:
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, stop)
    except ValueError:
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def caught(work: Callable[[], object]) -> Stopped | None:
    """Do ``work`` and return the signal that stopped it, or None, for a caller that says what is done."""
    try:
        work()
    except Stopped as stop:
        return stop
    return None


def sentence(command: str, run: Path | None, keeps: bool = False) -> str:
    """Return what is done and how to go on, where ``command`` was stopped; ``run`` is the folder beside its result.

    ``keeps`` says that the command ``evaluate`` was given a folder.
    """
    step = last_step()
    of = "" if step is None or step.total is None else f" of {step.total}"
    far = "" if step is None else f" after {step.done}{of} steps of {step.title}"
    if run is not None and any(run.rglob("last.ckpt")):
        return f"stopped{far}; the same command with --resume goes on from the last checkpoint, in {run}."
    if command in GOES_ON or (command == "evaluate" and keeps):
        return f"stopped{far}; what is stored stays, and the same command goes on from there."
    if command == "video" and step is not None:
        return f"stopped{far}; the video and its regions end there, and what is written plays."
    return f"stopped{far}; files that were written are whole, and the same command starts anew."
