"""What commands print: text and tables for people, JSON for programs, notes and errors on standard error."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from owseg._progress import logger
from owseg.errors import shown

if TYPE_CHECKING:
    from owseg.knowledge.base import KnowledgeBase


def save_version(
    kb: KnowledgeBase,
    target: str,
    as_json: bool,
    hint: str,
    slim: bool = False,
    check: Callable[[], Sequence[str]] = tuple,
) -> None:
    """Store ``kb`` as a new version of ``target``, and print what it is now; ``hint`` is what to do next.

    ``check`` returns sentences about what is wrong with it; it is called once the version is stored.
    """
    version = kb.save(target, slim)
    notes = list(check())
    if as_json:
        threshold = kb.threshold.to_json() if kb.threshold else None
        print_json({"kb": target, "version": version, "classes": list(kb.labels.names), "scorer": kb.scorer,
                    "threshold": threshold, "did": [e.message for e in kb.history], "notes": notes})  # fmt: skip
        return
    say(f"{target} is at version {version}: {kb.history[-1].message}.")
    say(f"It knows {', '.join(kb.labels.names)}.")
    if kb.threshold:
        say(f"A pixel is unknown where {kb.scorer} > {kb.threshold}.")
    print_notes(notes)
    say(hint)


def next_command(*words: object) -> str:
    """Return a line that names the next command, quoted for a shell: ``Next: owseg predict --kb KB IMAGES``."""
    return f"Next: {command(*words)}"


def command(*words: object) -> str:
    """Return a command of owseg, quoted for a shell."""
    return f"owseg {shlex.join(map(str, words))}"


def print_json(value: object) -> None:
    """Print one JSON object; what JSON lacks, such as a path, as text."""
    print(json.dumps(value, indent=1, default=str))


def print_table(title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print a title and a table; all columns but the first, and one called "what", are aligned right."""
    if title:
        say(title)  # a title of a rich table would be wrapped to the table's width
    table = Table(show_header=any(header))
    for i, name in enumerate(header):
        table.add_column(escape(name), justify="left" if i == 0 or name == "what" else "right")
    for row in rows:
        table.add_row(*(escape(shown(cell)) for cell in row))  # a class may be called [car]
    Console().print(table)


def say(text: str) -> None:
    """Print a line, or several, for people (see ``shown``)."""
    print("\n".join(map(shown, text.split("\n"))))


def print_note(message: str) -> None:
    """Print a line on standard error (see ``shown``), through the log: not with ``--quiet``."""
    logger.warning("%s", shown(message))


def print_notes(lines: Sequence[str]) -> None:
    """Print what is wrong, each sentence as a note."""
    for line in lines:
        print_note(f"Note: {line}")


def print_error(message: str) -> None:
    """Print a line on standard error, through the log: with ``--quiet``, too."""
    logger.error("%s", shown(message))


def exit_code(failed: int, count: int) -> int:
    """Return the exit code where ``failed`` of ``count`` images could not be read: 0, 3 for some of them, 1 for all."""
    return 0 if not failed else 1 if failed == count else SOME_SKIPPED


SOME_SKIPPED = 3
"""The exit code where some images were left out; all others are on the disk."""
