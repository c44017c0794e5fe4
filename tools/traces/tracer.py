"""A profile hook that writes down which functions of a package start, and what that means for stations."""

from __future__ import annotations

import contextlib
import inspect
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType

from tools.traces.stations import CONSTRUCTORS, is_closed, kind_of, own_way, station_of


@dataclass(frozen=True)
class Door:
    """One way into a station: who calls what, what kind of entry it is, and whether a generator goes on by it."""

    kind: str
    caller: str
    calling: str
    station: str
    function: str
    pulled: bool

    def __str__(self) -> str:
        pulled = " (pulled)" if self.pulled else ""
        return f"{self.caller} {self.calling} -> {self.station} {self.function}{pulled}"


@dataclass
class Trace:
    """What one way went through; ``files`` holds the functions by file, both in the order of their first start."""

    way: str
    files: dict[str, list[str]] = field(default_factory=dict)
    calls: int = 0
    pairs: list[tuple[str, str]] = field(default_factory=list)
    strict: list[str] = field(default_factory=list)
    stations: list[str] = field(default_factory=list)
    doors: list[Door] = field(default_factory=list)

    def of_kind(self, *kinds: str) -> list[Door]:
        """Return the doors of these kinds."""
        return [door for door in self.doors if door.kind in kinds]

    def counts(self) -> dict[str, int]:
        """Return the numbers that stand in the table."""
        return {
            "files": len(self.files),
            "calls": self.calls,
            "pairs": len(self.pairs),
            "strict": len(self.strict),
            "stations": len(self.stations),
            "callback": len(self.of_kind("callback")),
            "second": len(self.of_kind("second")),
            "again": len(self.of_kind("again")),
        }


class Tracer:
    """A profile hook that follows the functions of one package into a ``Trace``."""

    def __init__(self, package: Path, way: str) -> None:
        self.trace = Trace(way)
        self._root = f"{package}/"
        self._first: dict[str, str] = {}
        self._arrows: set[tuple[str, str]] = set()
        self._seen: set[tuple[str, str, CodeType]] = set()
        self._generators: dict[int, FrameType] = {}  # kept alive, so that no other frame gets the same id

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Follow what runs inside, in this thread and in those that it starts."""
        threading.setprofile(self._hook)
        sys.setprofile(self._hook)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def _hook(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(self._root):
            self._started(frame)

    def _started(self, frame: FrameType) -> None:
        chain = self._chain(frame)
        if any(code.co_name == "<module>" for _, code in chain):
            return
        path, code = chain[-1]
        pulled = bool(code.co_flags & inspect.CO_GENERATOR)
        goes_on = pulled and id(frame) in self._generators
        if pulled:
            self._generators[id(frame)] = frame
        functions = self.trace.files.setdefault(path, [])
        if (name := _name(code)) not in functions:
            functions.append(name)
        caller = next((p for p, _ in chain[-2::-1] if p), path)
        if caller != path and not goes_on:
            self.trace.calls += 1
            self._arrows.add((caller, path))
            pair = (min(caller, path), max(caller, path))
            if (path, caller) in self._arrows and pair not in self.trace.pairs:
                self.trace.pairs.append(pair)
        loading = any(own_way(p, _name(c)) == "load" for p, c in chain)
        if path not in self.trace.strict and kind_of(path, _name(code)) == "station" and not loading:
            self.trace.strict.append(path)
        self._enter(chain, pulled)

    def _chain(self, frame: FrameType) -> list[tuple[str, CodeType]]:
        """Return the package's code on the stack with its path, the outermost first.

        Constructors that the standard library wrote, for dataclasses, are among them, without a path.
        """
        found = []
        at: FrameType | None = frame
        while at is not None:
            code = at.f_code
            if code.co_filename.startswith(self._root):
                found.append((code.co_filename[len(self._root) :], code))
            elif code.co_filename == "<string>" and code.co_name in CONSTRUCTORS:
                found.append(("", code))
            at = at.f_back
        return found[::-1]

    def _enter(self, chain: list[tuple[str, CodeType]], pulled: bool) -> None:
        """Note the innermost function of ``chain`` if with it the way enters a station."""
        stack: list[tuple[str, CodeType]] = []  # stations, and the innermost function of each
        entered = closed = False
        for path, code in chain:
            if code.co_name in CONSTRUCTORS or own_way(path, _name(code)):
                return
            entered = False
            if kind_of(path, _name(code)) != "station":
                continue
            station = station_of(path)
            closed = closed or (bool(stack) and is_closed(stack[-1][0], _name(stack[-1][1])))
            entered = not stack or stack[-1][0] != station
            if closed and all(station != open_station for open_station, _ in stack):
                entered = False  # beneath an end, only what climbs out of it again is seen
            elif entered:
                stack.append((station, code))
            else:
                stack[-1] = (station, code)
        if entered:
            self._note(stack, pulled)

    def _note(self, stack: list[tuple[str, CodeType]], pulled: bool) -> None:
        station, code = stack[-1]
        caller, calling = (stack[-2][0], _name(stack[-2][1])) if len(stack) > 1 else ("", "")
        if (caller, station, code) in self._seen:
            return
        self._seen.add((caller, station, code))
        if station not in self._first:
            kind, self._first[station] = "first", caller
            self.trace.stations.append(station)
        elif any(station == below for below, _ in stack[:-1]):
            kind = "callback"
        else:
            kind = "again" if caller == self._first[station] else "second"
        self.trace.doors.append(Door(kind, caller, calling, station, _name(code), pulled))


def _name(code: CodeType) -> str:
    return str(getattr(code, "co_qualname", code.co_name)).replace("<locals>.", "")
