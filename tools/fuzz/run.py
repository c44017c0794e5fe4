"""Running cases: one in this process, or each in a process that is watched."""

from __future__ import annotations

import os
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

MOST_SECONDS, MOST_BYTES = 20.0, 2 << 30
"""What one case may take."""


@dataclass(frozen=True)
class Outcome:
    """What came of a case: "read", "refused" (with its sentence) or "failed" (with the reason)."""

    kind: str
    number: int
    what: str
    reason: str = ""
    seconds: float = 0.0


def run_case(kind: str, number: int, seed: int = 0) -> Outcome:
    """Make a case in a temporary folder, read it, and return what came of it."""
    from owseg.errors import OwsegError
    from tools.fuzz.kinds import KINDS

    start = time.process_time()
    what, reason = "read", ""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            KINDS[kind](Path(folder), Random(f"{seed} {kind} {number}"))
        except OwsegError as error:
            what, reason = "refused", str(error)
            if "\n" in reason:
                what, reason = "failed", f"more than a line: {reason!r}"
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            ours = [f for f in traceback.extract_tb(error.__traceback__) if "owseg" in f.filename] or [last]
            at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
            what, reason = "failed", f"{type(error).__name__} at {at}: {error!s:.160}"
    return Outcome(kind, number, what, reason, time.process_time() - start)


def _serve(pipe: Connection, seed: int) -> None:
    while True:
        kind, number = pipe.recv()
        pipe.send(run_case(kind, number, seed))


class Watched:
    """A process that runs cases, and is ended and begun anew where one takes too long or too much memory."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._begin()

    def _begin(self) -> None:
        context = get_context("spawn")  # not fork: this process may have threads
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, self.seed), daemon=True)
        self.process.start()
        self.warm: set[str] = set()

    def run(self, kind: str, number: int) -> Outcome:
        """Return what came of a case; in the first of a kind the time and memory of imports do not count."""
        start, before, least = time.monotonic(), _seconds(self.process.pid), _memory(self.process.pid)
        most_seconds, most_bytes = (
            (MOST_SECONDS, MOST_BYTES) if kind in self.warm else (6 * MOST_SECONDS, 2 * MOST_BYTES)
        )
        self.pipe.send((kind, number))
        while not self.pipe.poll(0.02):
            # Other processes take their share of the wall clock, so it is the processor's that counts, if it moves.
            wall, used = time.monotonic() - start, _memory(self.process.pid) - least
            late = _seconds(self.process.pid) - before > most_seconds or wall > 6 * most_seconds
            if late or used > most_bytes or not self.process.is_alive():
                reason = f"took more than {most_seconds:.0f} s" if late else f"took more than {most_bytes >> 20} MiB"
                reason = reason if self.process.is_alive() else f"ended the process ({self.process.exitcode})"
                self.end()
                self._begin()
                return Outcome(kind, number, "failed", reason, wall)
        self.warm.add(kind)
        found: Outcome = self.pipe.recv()
        return found

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()


def _memory(pid: int | None) -> int:
    """Return the bytes that a process has in memory; 0 where the system does not say."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0


def _seconds(pid: int | None) -> float:
    """Return the processor's time that a process has taken; 0 where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


def run_all(kinds: list[str], seconds: float, seed: int, worker: Any = None) -> Iterator[Outcome]:
    """Yield the outcomes of cases 0, 1, ... of every kind, in turn, until the time is over."""
    worker, start, number = worker or Watched(seed), time.monotonic(), 0
    try:
        while time.monotonic() - start < seconds:
            for kind in kinds:
                yield worker.run(kind, number)
            number += 1
    finally:
        worker.end()
