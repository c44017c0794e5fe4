"""The page: a section for each command, with a table of its mistakes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from tools.messages.answers import Answer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "messages.md"

HEAD = """\
# Messages

What owseg says to the likeliest mistakes in each command. Every message is one line on standard error that names what
is wrong and what to do, and nothing is written. The exit status is 1; it is 2, where that is noted, for a command line
that cannot be read. An image that cannot be read is skipped, and those beside it are done.

`python -m tools.messages` runs these commands and writes this page.
"""


def page(answers: Iterable[Answer]) -> str:
    """Return the page as Markdown."""
    parts = [HEAD]
    for command, found in groupby(answers, lambda answer: answer.case.command):
        rows = [f"| {a.case.mistake} | {_code(a.case.line)} | {_code(a.text)}{_status(a)} |" for a in found]
        parts.append("\n".join((f"## owseg {command}\n", "| mistake | command | answer |", "|---|---|---|", *rows, "")))
    return "\n".join(parts)


def _status(answer: Answer) -> str:
    return f" ({answer.status})" if answer.status != 1 else ""


def _code(text: str) -> str:
    """Return text as code in a cell of a table."""
    # A pipe ends a cell also within code.
    ticks = "``" if "`" in text else "`"
    space = " " if "`" in text else ""
    return f"{ticks}{space}{text}{space}{ticks}".replace("|", "\\|")
