"""Mutants: reading them, planting one in a copy of the repository, running tests there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
COPIED = ("src", "tests", "tools", "docs", "recipes", "benchmarks", "examples", "pyproject.toml", "README.md")
"""What the tests read of the repository."""
SECONDS = 240.0
"""The tests of a mutant are stopped after this time."""
OUTCOMES = {0: "survived", 1: "caught"}
"""What the exit status of pytest means; any other means that the mutant does not even import, or names no test."""


@dataclass(frozen=True)
class Mutant:
    """A fault: in ``file`` (below src/owseg) ``old`` becomes ``new``; one of ``tests`` should fail then."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def room(self) -> str:
        """The room that the fault is in; the name of the file for one at the root of the package."""
        return self.file.partition("/")[0]

    def stale(self, root: Path = ROOT) -> str:
        """Return why it cannot be planted, or nothing."""
        path = root / "src" / "owseg" / self.file
        if not path.is_file():
            return f"{self.file} is not there"
        if (count := path.read_text("utf-8").count(self.old)) != 1:
            return f"its old text is {count} times in {self.file}"
        if self.old == self.new:
            return "it changes nothing"
        if gone := [test for test in self.tests if not _is_there(root / "tests", test)]:
            return f"tests/{gone[0]} is not there"
        return "" if self.tests else "it names no test"


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: ``caught`` by ``test``, ``survived``, ``late`` (stopped by the time), or ``broken``."""

    mutant: Mutant
    kind: str
    seconds: float
    test: str = ""


def read_mutants(folder: Path = Path(__file__).parent) -> list[Mutant]:
    """Return the mutants in the files of a folder; raise ``ValueError`` where two have the same name."""
    found: list[Mutant] = []
    for path in sorted(folder.glob("*.toml")):
        values: list[dict[str, Any]] = tomllib.loads(path.read_text("utf-8"))["mutant"]
        found += [Mutant(v["name"], v["file"], v["old"], v["new"], tuple(v["tests"])) for v in values]
    names = [mutant.name for mutant in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two mutants are called {sorted(twice)[0]!r}")
    return found


def copy_repository(place: Path, root: Path = ROOT) -> Path:
    """Copy what the tests read to ``place`` and return it."""
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (root / name).is_file():
            shutil.copy(root / name, place / name)
    return place


def plant(mutant: Mutant, copy: Path, seconds: float = SECONDS) -> Outcome:
    """Plant a fault in a copy of the repository, run its tests until one fails, and take the fault out again."""
    path = copy / "src" / "owseg" / mutant.file
    sound = path.read_text("utf-8")
    try:
        _write(path, sound.replace(mutant.old, mutant.new))
        status, output, took = run_tests(copy, mutant.tests, "-x", seconds=seconds)
    finally:
        _write(path, sound)
    kind = "late" if status is None else OUTCOMES.get(status, "broken")
    return Outcome(mutant, kind, took, next(iter(failed_tests(output)), "") if kind == "caught" else "")


def run_tests(
    copy: Path, tests: Iterable[str], *options: str, seconds: float | None = None
) -> tuple[int | None, str, float]:
    """Return the exit status of pytest in ``copy``, its output and its time; the status is None if it was stopped."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider", *options]
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONSAFEPATH": ""}
    began = time.monotonic()
    try:
        done = subprocess.run(
            [*command, *(f"tests/{test}" for test in tests)],
            cwd=copy, env=environment, timeout=seconds, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        return None, str(late.output or ""), time.monotonic() - began
    return done.returncode, done.stdout, time.monotonic() - began


def failed_tests(output: str) -> list[str]:
    """Return the node ids that pytest's output names as failed, below tests/."""
    return re.findall(r"^(?:FAILED|ERROR) tests/(\S+)", output, re.MULTILINE)


def unfit(mutants: Sequence[Mutant], copy: Path) -> dict[str, list[str]]:
    """Run all tests of ``mutants`` without a fault; return by mutant the tests that fail even so."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    whole = {test for test in tests if "::" not in test}
    chosen = [test for test in tests if test in whole or test.split("::")[0] not in whole]
    status, output, _ = run_tests(copy, chosen, "--continue-on-collection-errors")
    if status not in (0, 1):
        raise RuntimeError(f"the tests do not run without a fault:\n{output[-3000:]}")
    failed = failed_tests(output)
    found = {m.name: [f for f in failed if f.startswith(m.tests)] for m in mutants}
    return {name: tests for name, tests in found.items() if tests}


def _is_there(tests: Path, test: str) -> bool:
    """Return whether a file of tests is there, and the functions and classes that a node id names in it."""
    path, *names = test.partition("[")[0].split("::")
    if not names:
        return (tests / path).exists()
    text = (tests / path).read_text("utf-8") if (tests / path).is_file() else None
    return text is not None and all(re.search(rf"^\s*(def|class) {name}\b", text, re.MULTILINE) for name in names)


def _write(path: Path, text: str) -> None:
    """Write a module, and forget its compiled form: Python takes a file of the same size and second for the same."""
    path.write_text(text, "utf-8")
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()
