"""Running the commands of ``cases.toml`` in the folder of ``scene``, and what is wrong with an answer."""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch import Tensor
from typer.main import get_command

from owseg import cli
from owseg._files import read_toml
from owseg.knowledge.load import load
from owseg.models.backbones.base import Backbone

CASES = Path(__file__).parent / "cases.toml"


@dataclass(frozen=True)
class Case:
    """A mistake in words, and the line that a person types: ``owseg`` and its words, perhaps behind a pipe."""

    command: str
    mistake: str
    line: str


@dataclass(frozen=True)
class Answer:
    """What owseg says on standard error, its exit status, and what it did that a mistake must not lead to."""

    case: Case
    text: str
    status: int
    output: str = ""
    left: tuple[str, ...] = ()

    def wrong(self) -> Iterator[str]:
        """Yield what is wrong with the answer, a line each."""
        if self.status not in (1, 2):
            yield f"{self.case.line}: exit status {self.status}"
        if not re.fullmatch(r"(error|skipped): .*[.?]", self.text):
            yield f"{self.case.line}: not one line that says error and ends like a sentence, but {self.text!r}"
        if self.output and self.case.command != "data check":  # which prints a report
            yield f"{self.case.line}: prints {self.output!r}"
        if self.left:
            yield f"{self.case.line}: leaves or changes {', '.join(self.left)}"


def read_cases(path: Path = CASES) -> list[Case]:
    """Return the cases, command by command: a table for each, of mistakes and lines."""
    return [Case(command, *case) for command, cases in read_toml(path).items() for case in cases.items()]


def answers(cases: Iterable[Case], scene: Path) -> Iterator[Answer]:
    """Run each case in the folder ``scene``, in which nothing may change, and yield the answer."""
    # Once for all cases: the commands that typer makes of annotations, and each knowledge base.
    once = patch("typer.main.get_command", cache(get_command)), patch("owseg.knowledge.load.load", cache(load))
    with once[0], once[1], _in_folder(scene), patch.object(Backbone, "__call__", _made_alone(Backbone.__call__)):
        before = _listed(scene)
        for case in cases:
            status, output, text = run(case.line)
            after = _listed(scene)
            changed = sorted(
                name.replace(f"{scene}/", "")
                for name in before.keys() | after.keys()
                if before.get(name) != after.get(name)
            )
            before = after
            yield Answer(case, text.strip().replace(f"{scene}/", ""), status, output.strip(), tuple(changed))


def run(line: str) -> tuple[int, str, str]:
    """Return exit status, standard output and standard error of a line; standard input is empty."""
    words, output, text = shlex.split(line.rpartition("| ")[2]), io.StringIO(), io.StringIO()
    empty = io.TextIOWrapper(io.BytesIO())
    with redirect_stdout(output), redirect_stderr(text), patch.object(sys, "argv", words), patch("sys.stdin", empty):
        try:
            cli.main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
    return status, output.getvalue(), text.getvalue()


@contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _made_alone(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return what runs a backbone, but only on zeros, as it is when it is made to learn its channels."""

    def call(self: Backbone, image: Tensor, *args: Any) -> Any:
        if not image.is_meta and image.any():
            raise AssertionError("a network was run before the mistake was found")
        return run(self, image, *args)

    return call


def _listed(folder: Path) -> dict[str, tuple[int, int]]:
    """Return what is in a folder; the time of a folder is left out, as it changes with a file that comes and goes."""
    found = {}
    for place, folders, files in os.walk(folder):
        found.update({os.path.join(place, name): (0, 0) for name in folders})  # noqa: PTH118, as fast as can be
        for name in files:
            status = os.stat(path := os.path.join(place, name))  # noqa: PTH116, PTH118
            found[path] = status.st_size, status.st_mtime_ns
    return found
