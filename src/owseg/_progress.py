"""A progress bar on standard error, drawn on a terminal only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")


@contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[Callable[[str], None]]:
    """Show a bar of ``total`` steps, ``done`` of them taken; yields a function that takes a step and shows a note."""
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
    """Yield ``items``, and show a bar of ``total`` steps that takes one for each."""
    with progress(title, total) as tick:
        for item in items:
            yield item
            tick("")
