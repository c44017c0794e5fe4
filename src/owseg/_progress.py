"""How far a long loop is: a bar on a terminal, and elsewhere a line from time to time, through ``logging``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")

logger = logging.getLogger("owseg")
"""What the package says while it works. A program that configures ``logging`` decides what becomes of it."""

EVERY = 30.0
"""Seconds from one line to the next."""

STEP = 5
"""The level of steps between two lines, below DEBUG: for a handler that asks how far the work is."""


@dataclass(frozen=True)
class Step:
    """How far a loop is: ``done`` of ``total`` steps, what the loop says of it, and the seconds left; None if unknown.

    It is the message of a record of ``logger``; its text is for people.
    """

    title: str
    done: int
    total: int | None
    note: str = ""
    left: float | None = None

    def __str__(self) -> str:
        note = f" ({' '.join(self.note.split())})" if self.note else ""
        left = "" if self.left is None else f", {timedelta(seconds=round(self.left))} left"
        of = "" if self.total is None else f" of {self.total}"
        return f"{self.title}: {self.done}{of}{note}{left}"


@contextmanager
def progress(title: str, total: int | None, done: int = 0) -> Iterator[Callable[[str], None]]:
    """Show a bar of ``total`` steps, ``done`` of them taken; yields a function that takes a step and shows a note.

    ``total`` is None where nobody knows how many there will be.

    Every step is a record of ``logger``, of the level INFO where ``EVERY`` seconds passed since the last such line.
    Where a bar is drawn, that is DEBUG. Where nobody configured ``logging``, as in a notebook, these lines are printed
    on standard error.
    """
    console = Console(stderr=True)
    is_drawn = console.is_terminal and not _is_quiet()
    begun = last = monotonic()
    first = done
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not is_drawn) as bar:
        task = bar.add_task(title, total=total, completed=done, note="")

        def tick(note: str) -> None:
            nonlocal done, last
            done += 1
            bar.update(task, advance=1, note=note)
            now = monotonic()
            left = None if total is None else (now - begun) / (done - first) * (total - done)
            is_due = now - last >= EVERY
            last = now if is_due else last
            _log(
                Step(title, done, total, note, left), (logging.DEBUG if is_drawn else logging.INFO) if is_due else STEP
            )

        yield tick


def _log(step: Step, level: int) -> None:
    if level == logging.INFO and not logger.hasHandlers():
        print(step, file=sys.stderr)
    logger.log(level, step)


def _is_quiet() -> bool:
    """Return whether whoever configured the logger wants no lines: then no bar either."""
    return any(h.level > logging.WARNING for h in logger.handlers if not isinstance(h, logging.FileHandler))


def track(items: Iterable[T], title: str, total: int) -> Iterator[T]:
    """Yield ``items``, and show a bar of ``total`` steps that takes one for each."""
    with progress(title, total) as tick:
        for item in items:
            yield item
            tick("")
