"""A progress bar for long work, on standard error, where a person is watching."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")


@contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[Callable[[str], None]]:
    """Show a bar of ``total`` steps; yields a function that takes one step and shows a note beside the bar.

    On anything but a terminal nothing is drawn.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total, completed=done, note="")

        def tick(note: str) -> None:
            bar.update(task, advance=1, note=note)

        yield tick


def track(items: Iterable[T], title: str, total: int) -> Iterator[T]:
    """Yield ``items`` while a bar of ``total`` steps is shown."""
    with progress(title, total) as tick:
        for item in items:
            yield item
            tick("")
