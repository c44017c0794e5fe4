"""Trace five ways through owseg on tiny made-up data, and print which files each of them enters, in order.

    python -m tools.traces [predict|learn|evaluate|benchmark|train ...] [--json] [--all]

Every way is one call of the command line in a process of its own, so that no import or cache of another way hides a
file. A profile hook sees each function of the package that starts; what runs while a module is imported is left out.

**Plain figures.** ``files`` counts the files in which a function ran. ``calls`` counts the functions that were started
from a function of another file (the nearest on the stack, whatever other libraries lie between); a generator counts
when it starts, not each time it goes on. ``pairs`` counts the pairs of files that start functions of each other.

**Stations.** Not every file that is entered is a place where a reader has to follow the way:

* values (``NOUNS``), small tools (``HELPERS``) and the insides of networks (``NETWORKS``) are looked through: what
  they call counts as called by the station they were called from;
* ways of their own (``OWN_WAYS``), such as loading, and constructors are left out with all that runs beneath them;
* a room of plug-ins (``ROOMS``) is one station, whichever of its files answers, and an end (``ENDS``) is one station,
  whatever it does: what runs beneath either is left out, unless it climbs back into a station above.

All other files are stations. ``stations`` lists them in the order of their first entry. An entry is a call that goes
down from one station into another; its door is (the station that calls, the function called), so a loop over pictures
goes through one door, however often. ``strict`` has only the first of these exceptions, and loading: it counts every
file that is no value, tool or network, as soon as one of its functions runs outside of loading.

**Entered again.** A door of a station that was entered before is

* ``circle`` if the station is on the stack already, so that a callee climbs back into a caller (callbacks, too);
* ``second`` if another station than the first one calls;
* ``again`` if the station that called first calls another function of it.

The first two are re-entries: a way with none enters no station twice. ``again`` is listed beside them. A door is marked
``pulled`` if the function is a generator: the callee asks for the next item, rather than calling back.

A pattern below that fits no file or function is named on standard error, as what it stood for may have moved.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import inspect
import io
import json
import multiprocessing
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeVar

# What counts as what. Patterns are of paths below the package, or of PATH:FUNCTION; a * also crosses folders.
NOUNS: tuple[str, ...] = (
    "__init__.py", "__main__.py", "errors.py", "types.py", "labels.py", "openset.py", "_registry.py", "data/*",
    "increments/*", "evaluation/maps.py", "exchange/annotation.py", "exchange/masks.py", "training/config.py",
)  # fmt: skip
HELPERS: tuple[str, ...] = (
    "_files.py", "_progress.py", "cli/__init__.py", "cli/_options.py", "cli/_printing.py", "benchmark/_kept.py",
    "knowledge/pretrained/__init__.py",
)  # fmt: skip
NETWORKS: tuple[str, ...] = ("models/*",)
NO_NETWORKS: tuple[str, ...] = ("models/engine.py",)
"""Files that ``NETWORKS`` matches and that are stations all the same."""
OWN_WAYS: dict[str, tuple[str, ...]] = {
    "load": ("knowledge/load.py",),
    "store": ("knowledge/versions.py", "knowledge/commit.py", "knowledge/base.py:save"),
    "open a data set": ("data/datasets/__init__.py",),
    "read a frame": ("data/dataset.py:__getitem__", "data/dataset.py:fingerprint"),
    "describe": ("knowledge/base.py:fingerprint", "knowledge/base.py:after"),
    "validate": ("training/segmentation.py:closed_iou",),
}
ENDS: tuple[str, ...] = ("knowledge/calibration.py", "evaluation/store_maps.py", "evaluation/measure.py")
ROOMS: tuple[str, ...] = ("scorers", "image_scorers", "metrics", "losses", "exchange")
CONSTRUCTORS = ("__init__", "__new__", "__post_init__")

T = TypeVar("T")
WAYS = ("predict", "learn", "evaluate", "benchmark", "train")
SIZE = (48, 64)
COLORS = ((220, 30, 30), (30, 220, 30), (30, 30, 220), (220, 220, 30))
NAMES = ("road", "sky", "tree", "rock")
"""The classes of the pictures; the last is the one that is unknown and then learned."""


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

    def figures(self) -> dict[str, int]:
        """Return the numbers that stand in the table."""
        return {
            "files": len(self.files),
            "calls": self.calls,
            "pairs": len(self.pairs),
            "strict": len(self.strict),
            "stations": len(self.stations),
            "circle": len(self.of_kind("circle")),
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
        loading = any(_own_way(p, c.co_name) == "load" for p, c in chain)
        if path not in self.trace.strict and _kind(path, code.co_name) == "station" and not loading:
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
            if code.co_name in CONSTRUCTORS or _own_way(path, code.co_name):
                return
            entered = False
            if _kind(path, code.co_name) != "station":
                continue
            station = _station(path)
            closed = closed or (bool(stack) and _closed(stack[-1][0], stack[-1][1].co_name))
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
            kind = "circle"
        else:
            kind = "again" if caller == self._first[station] else "second"
        self.trace.doors.append(Door(kind, caller, calling, station, _name(code), pulled))


def _name(code: CodeType) -> str:
    return str(getattr(code, "co_qualname", code.co_name)).replace("<locals>.", "")


def _matches(path: str, function: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(f"{path}:{function}" if ":" in pattern else path, pattern) for pattern in patterns)


@cache
def _kind(path: str, function: str) -> str:
    """Return what a function's file is: a noun, a helper, a network, or a station."""
    if _matches(path, function, NETWORKS) and not _matches(path, function, NO_NETWORKS):
        return "network"
    if _matches(path, function, HELPERS):
        return "helper"
    return "noun" if _matches(path, function, NOUNS) else "station"


@cache
def _own_way(path: str, function: str) -> str:
    """Return the way of its own that begins with a function, or nothing."""
    return next((name for name, patterns in OWN_WAYS.items() if _matches(path, function, patterns)), "")


@cache
def _closed(station: str, function: str) -> bool:
    """Return whether what runs beneath a function of a station is the station's own affair."""
    return station in ROOMS or _matches(station, function, ENDS)


@cache
def _station(path: str) -> str:
    room = path.partition("/")[0]
    return room if room in ROOMS else path


def stale_patterns(package: Path) -> list[str]:
    """Return the patterns that fit nothing in the package."""
    files = {path.relative_to(package).as_posix(): path.read_text("utf-8") for path in package.rglob("*.py")}
    patterns = {*NOUNS, *HELPERS, *NETWORKS, *NO_NETWORKS, *ENDS, *(f"{room}/*" for room in ROOMS)}
    stale = []
    for pattern in sorted(patterns.union(*OWN_WAYS.values())):
        path, _, function = pattern.partition(":")
        texts = [text for name, text in files.items() if fnmatchcase(name, path)]
        if not any(not function or f"def {function}(" in text for text in texts):
            stale.append(pattern)
    return stale


def prepare(place: Path) -> None:
    """Write pictures, one shot, a backbone, a recipe and a knowledge base, ``kb``, into ``place``."""
    import numpy as np
    import torch
    from PIL import Image
    from transformers import MobileNetV2Config, MobileNetV2Model

    height, width = SIZE
    for split, count in (("train", 8), ("val", 4), ("test", 3), ("shots", 1)):
        for number in range(count):
            random = np.random.default_rng([len(split), number])
            blocks = random.integers(0, len(NAMES), (height // 16, width // 16))
            blocks.flat[: len(NAMES)] = range(len(NAMES))  # every class in every picture
            mask = np.kron(blocks, np.ones((16, 16))).astype(np.uint8)
            noise = random.integers(-25, 25, (height, width, 3))
            image = np.clip(np.array(COLORS)[mask] + noise, 0, 255).astype(np.uint8)
            folder = place / split if split == "shots" else place / "data" / split
            for kind, array in (("images", image), ("masks", (mask == 3) * np.uint8(1) if split == "shots" else mask)):
                (folder / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(folder / kind / f"f{number}.png")
    (place / "data" / "classes.json").write_text(json.dumps(NAMES))
    torch.manual_seed(0)
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
        MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.25)).save_pretrained(place / "backbone")
    recipe: dict[str, dict[str, Any]] = {"models.tiny": {"kb": str(place / "kb"), "scorers": ["joint", "msp"]},
              "data.own": {"spec": f"folder:{place / 'data'}", "most": 2}}  # fmt: skip
    lines = [
        line for name, t in recipe.items() for line in (f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in t.items()))
    ]
    (place / "recipe.toml").write_text("\n".join(lines) + "\n")
    _command(_arguments("train", place, "kb"))


def _arguments(way: str, place: Path, made: str) -> list[str]:
    """Return the command line of a way; ``made`` names what it writes."""
    kb, data, out = str(place / "kb"), f"folder:{place / 'data'}", str(place / made)
    return {
        "predict": ["predict", str(place / "data/test/images/f0.png"), "--kb", kb, "--out", out],
        "learn": ["learn", kb, NAMES[-1], "--shots", str(place / "shots"), "--known", data, "--out", out],
        "evaluate": ["evaluate", kb, "--data", data],
        "benchmark": ["benchmark", str(place / "recipe.toml"), "--out", out],
        "train": [
            "train", out, "--data", data, "--backbone", str(place / "backbone"), "--unknown", NAMES[-1],
            "--epochs", "1", "--batch", "4", "--crop", f"{SIZE[0]}x{SIZE[1]}",
        ],
    }[way]  # fmt: skip


def _command(arguments: list[str], tracer: Tracer | None = None) -> None:
    """Run the command line in this process; raise ``RuntimeError`` with what it said if it fails."""
    import torch

    from owseg.cli import app

    torch.set_num_threads(1)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            with tracer.following() if tracer else contextlib.nullcontext():
                code = app(arguments, standalone_mode=False)
        except Exception as error:
            raise RuntimeError(f"owseg {' '.join(arguments)}: {error!r}\n{said.getvalue()}") from error
    if code:
        raise RuntimeError(f"owseg {' '.join(arguments)} ended with {code}\n{said.getvalue()}")


def follow(way: str, place: Path) -> Trace:
    """Trace one way in this process, on what ``prepare`` wrote into ``place``."""
    import owseg

    tracer = Tracer(Path(str(owseg.__file__)).parent, way)
    _command(_arguments(way, place, f"out-{way}"), tracer)
    return tracer.trace


def follow_all(ways: list[str]) -> list[Trace]:
    """Trace each of ``ways`` in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _afresh(prepare, place)
        return [_afresh(follow, way, place) for way in ways]


def _afresh(work: Callable[..., T], *arguments: object) -> T:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(work, *arguments).result()


def _kind_in_words(trace: Trace, path: str) -> str:
    """Return how a file counts in a trace, for the list of all files."""
    if (station := _station(path)) in trace.stations:
        return "station" if station == path else f"station {station}/"
    kinds = {_kind(path, function.rpartition(".")[2]) for function in trace.files[path]}
    return "beneath" if kinds == {"station"} else "/".join(sorted(kinds))


def describe(trace: Trace, every_file: bool = False) -> Iterator[str]:
    """Yield the lines that tell a trace to people."""
    yield f"{trace.way}: " + ", ".join(f"{number} {name}" for name, number in trace.figures().items())
    firsts = {door.station: door for door in trace.of_kind("first")}
    for number, station in enumerate(trace.stations, 1):
        door = firsts[station]
        yield f"  {number:2} {station} {door.function}" + (f"  <- {door.caller} {door.calling}" if door.caller else "")
    for kind in ("circle", "second", "again"):
        for door in trace.of_kind(kind):
            yield f"     {kind:6} {door}"
    if every_file:
        yield f"  strict: {', '.join(trace.strict)}"
        yield f"  pairs: {', '.join(' <> '.join(pair) for pair in trace.pairs)}"
        yield "  all files:"
        for path, functions in trace.files.items():
            yield f"     {path} ({_kind_in_words(trace, path)}): {', '.join(functions)}"


def table(traces: list[Trace]) -> Iterator[str]:
    """Yield a Markdown table of the figures."""
    titles = list(Trace("").figures())
    yield f"| way | {' | '.join(titles)} |"
    yield "|---" * (len(titles) + 1) + "|"
    for trace in traces:
        yield f"| {trace.way} | {' | '.join(map(str, trace.figures().values()))} |"


def to_json(trace: Trace) -> dict[str, Any]:
    """Return a trace as plain JSON."""
    return {"figures": trace.figures(), **asdict(trace)}


def main() -> None:
    """Trace the ways that are named, by default all."""
    parser = argparse.ArgumentParser(description="Trace ways through owseg: which files are entered, in order.")
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"{', '.join(WAYS)}; by default all")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--all", action="store_true", help="list every file, with the functions that ran in it")
    options = parser.parse_args()
    if strange := [way for way in options.ways if way not in WAYS]:
        parser.error(f"there is no way {strange[0]!r}; it is one of {', '.join(WAYS)}")
    spec = importlib.util.find_spec("owseg")
    for pattern in stale_patterns(Path(spec.origin).parent) if spec and spec.origin else ():
        print(f"{pattern} fits nothing in the package; adapt it at the top of this file.", file=sys.stderr)
    traces = follow_all(options.ways or list(WAYS))
    if options.json:
        print(json.dumps([to_json(trace) for trace in traces], indent=1))
        return
    for trace in traces:
        print(*describe(trace, options.all), "", sep="\n")
    print(*table(traces), sep="\n")


if __name__ == "__main__":
    main()
