"""Kill a process again and again while it writes, and check each time what it left behind."""

from __future__ import annotations

import io
import os
import random
import select
import shutil
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PATIENCE = 120.0  # seconds a child may take for one step before it counts as hung


def kill_repeatedly(
    step: Callable[[], int],
    check: Callable[[int], None],
    times: int,
    seed: int = 0,
) -> list[int]:
    """``times`` times: fork a child that repeats ``step``, SIGKILL it at a random moment, ``check``.

    ``step`` does one piece of work, such as learning a class and saving it, and returns the number it stored.
    ``check`` runs in the parent and gets the highest number any child is known to have returned (0: none).
    The moment is uniform in the time of two steps after the child began. That time is measured, and measured anew with
    every child, so that about as many kills come before the first step is done as after, however busy the machine is.
    Returns what ``check`` was given each time. A child inherits what the parent has loaded, so a heavy start is paid
    once; with torch, give the parent one thread before anything runs in it.
    """
    rng = random.Random(seed)
    with Child(step) as child:
        began = time.monotonic()
        while len(child.announced) < 2:
            child.listen(PATIENCE)
        span = time.monotonic() - began
    last = max(child.announced)
    given = []
    for _ in range(times):
        with Child(step) as child:
            moment = time.monotonic() + rng.uniform(0, span)
            while (left := moment - time.monotonic()) > 0:
                child.listen(left)
        span *= 1 / 1.15 if child.announced else 1.15
        last = max([last, *child.announced])
        check(last)
        given.append(last)
    return given


def in_child(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked child; return how it ended: 0 well, 1 by an exception, -N by signal N."""
    return in_children([work])[0]


def in_children(works: Sequence[Callable[[], None]]) -> list[int]:
    """Run all ``works`` at once, each in a forked child, and return how they ended, as ``in_child`` does."""
    children = []
    for work in works:
        children.append(os.fork())
        if children[-1] == 0:
            code = 1
            try:
                work()
                code = 0
            except BaseException:
                os.write(2, traceback.format_exc().encode())
            finally:
                os._exit(code)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


class Child:
    """A forked process that repeats ``step`` and writes each number down a pipe, until the block ends by SIGKILL.

    ``announced`` has the numbers.
    """

    def __init__(self, step: Callable[[], int]) -> None:
        self.announced: list[int] = []
        self.text = b""
        self.pipe, end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.write(end, b"ready\n")
                while True:
                    os.write(end, f"{step()}\n".encode())
            except BaseException:
                os.write(end, b"failed\n" + traceback.format_exc().encode())
            finally:
                os._exit(1)
        os.close(end)

    def __enter__(self) -> Child:
        while not self.text.startswith(b"ready\n"):
            self.listen(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        while chunk := os.read(self.pipe, 65536):
            self._read(chunk)
        os.close(self.pipe)
        assert b"failed\n" not in self.text, self.text.decode()

    def listen(self, seconds: float) -> None:
        """Read what the child writes within ``seconds``; silence for all of PATIENCE is a failure."""
        if select.select([self.pipe], [], [], seconds)[0]:
            chunk = os.read(self.pipe, 65536)
            self._read(chunk)
            assert chunk and b"failed\n" not in self.text, f"the child died by itself: {self.text.decode()}"
        else:
            assert seconds < PATIENCE, "the child hangs"

    def _read(self, chunk: bytes) -> None:
        self.text += chunk
        self.announced = [int(line) for line in self.text.split(b"\n")[1:-1] if line.isdigit()]


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Make ``folder`` hold ``files`` and nothing else, and return it."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def left_by_kills(work: Callable[[], object], folder: Path) -> list[dict[str, bytes]]:
    """Do ``work`` and return what a kill would leave of ``folder`` before each call that could touch a file, and after.

    A killed process leaves what the kernel was told, and not what it still had in buffers of its own: just what another
    reader finds at that moment. The folder is read at every call of ``os``'s functions, of a file's methods and of a
    database's; what was the same as at the call before is left out. The last is what is there when all is done.
    """
    left: list[dict[str, bytes]] = []

    def snapshot() -> None:
        found = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        if found not in left[-1:]:
            left.append(found)

    def watch(frame: object, event: str, function: object) -> None:
        if event == "c_call" and _touches_files(function):
            snapshot()

    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
    snapshot()
    return left


def _touches_files(function: object) -> bool:
    home = getattr(function, "__self__", None)
    return isinstance(home, io.IOBase | sqlite3.Connection | sqlite3.Cursor) or getattr(function, "__module__", "") in (
        os.open.__module__,
        io.open.__module__,
    )
