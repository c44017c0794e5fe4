"""Run the blocks of code of a page in order, and compare what they print with what the page shows."""

from __future__ import annotations

import io
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from owseg import cli

FENCE = re.compile(r"^(?:<!-- not run: (?P<reason>[^>]+) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$", re.S | re.M)
NUMBER = r"-?\d+(?:\.\d+)?"
RELATIVE, ABSOLUTE = 0.05, 0.02
"""By how much a number may differ from the one that is shown; ABSOLUTE is for those with digits after the point."""


@dataclass(frozen=True)
class Block:
    """A block of code: its language, the line that it is on, the output that follows it, and why it is not run."""

    language: str
    code: str
    line: int
    reason: str | None
    output: str | None


def read_blocks(text: str) -> list[Block]:
    """Return the blocks of Python and of commands; a block ``text`` after one is its output."""
    found: list[Block] = []
    for match in FENCE.finditer(text):
        if match["language"] in ("python", "sh"):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(match["language"], match["code"], line, match["reason"], None))
        elif match["language"] == "text" and found and found[-1].output is None and not match["reason"]:
            last = found.pop()
            found.append(Block(last.language, last.code, last.line, last.reason, match["code"]))
    return found


def run_blocks(text: str) -> Iterator[tuple[Block, str]]:
    """Run the blocks of a page one after another, Python in one namespace, and yield each with what it printed."""
    names: dict[str, object] = {}
    for block in read_blocks(text):
        if block.reason is None:
            printed = io.StringIO()
            with redirect_stdout(printed):
                if block.language == "python":
                    exec(compile("\n" * block.line + block.code, "the page", "exec"), names)
                else:
                    run_commands(block.code)
            yield block, printed.getvalue()


def run_commands(code: str) -> None:
    """Run the lines of a block of commands, each of which has to be one of owseg and to succeed."""
    for line in code.splitlines():
        program, *arguments = shlex.split(line, comments=True) or [""]
        if program:
            assert program == "owseg", f"only owseg is run, not {line!r}"
            code_, errors = call(arguments)
            assert code_ == 0, f"{line}\n{errors}"


def call(arguments: list[str]) -> tuple[int, str]:
    """Call owseg in this process, and return its exit code and what it said on standard error."""
    old, sys.argv = sys.argv, ["owseg", *arguments]
    errors = io.StringIO()
    try:
        with redirect_stderr(errors):
            cli.main()
        return 0, errors.getvalue()
    except SystemExit as end:
        return int(end.code or 0), errors.getvalue()
    finally:
        sys.argv = old


def differs(shown: str, printed: str) -> str | None:
    """Return how output differs from what is shown, None where it does not: numbers may a little, ``…`` is anything."""
    pieces = re.split(rf"({NUMBER}|…|\s+)", shown.strip())
    pattern = "".join(
        ".*?" if piece == "…" else f"({NUMBER})" if re.fullmatch(NUMBER, piece)
        else r"\s+" if piece.isspace() else re.escape(piece)
        for piece in pieces
    )  # fmt: skip
    match = re.fullmatch(pattern, printed.strip(), re.S)
    if match is None:
        return f"the page shows\n{shown}\nbut this is printed:\n{printed}"
    expected = [piece for piece in pieces if re.fullmatch(NUMBER, piece)]
    far = [(a, b) for a, b in zip(expected, match.groups(), strict=True) if not near(a, b)]
    return f"numbers differ (shown, printed): {far}" if far else None


def near(shown: str, printed: str) -> bool:
    """Whether a printed number is near enough to the one that is shown."""
    room = RELATIVE * abs(float(shown)) + (ABSOLUTE if "." in shown else 0)
    return abs(float(shown) - float(printed)) <= room
