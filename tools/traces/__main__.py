"""Trace the ways that are named, by default all, and print where they go."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.traces.stations import kind_of, stale_patterns, station_of
from tools.traces.tracer import Trace
from tools.traces.ways import WAYS, follow_all


def _kind_in_words(trace: Trace, path: str) -> str:
    """Return how a file counts in a trace, for the list of all files."""
    if (station := station_of(path)) in trace.stations:
        return "station" if station == path else f"station {station}/"
    kinds = {kind_of(path, function) for function in trace.files[path]}
    return "beneath" if kinds == {"station"} else "/".join(sorted(kinds))


def describe(trace: Trace, every_file: bool = False) -> Iterator[str]:
    """Yield the lines that describe a trace."""
    yield f"{trace.way}: " + ", ".join(f"{number} {name}" for name, number in trace.counts().items())
    firsts = {door.station: door for door in trace.of_kind("first")}
    for number, station in enumerate(trace.stations, 1):
        door = firsts[station]
        yield f"  {number:2} {station} {door.function}" + (f"  <- {door.caller} {door.calling}" if door.caller else "")
    for kind in ("callback", "second", "again"):
        for door in trace.of_kind(kind):
            yield f"     {kind:8} {door}"
    if every_file:
        yield f"  strict: {', '.join(trace.strict)}"
        yield f"  pairs: {', '.join(' <> '.join(pair) for pair in trace.pairs)}"
        yield "  all files:"
        for path, functions in trace.files.items():
            yield f"     {path} ({_kind_in_words(trace, path)}): {', '.join(functions)}"


def table(traces: list[Trace]) -> Iterator[str]:
    """Yield a Markdown table of the counts."""
    titles = list(Trace("").counts())
    yield f"| way | {' | '.join(titles)} |"
    yield "|---" * (len(titles) + 1) + "|"
    for trace in traces:
        yield f"| {trace.way} | {' | '.join(map(str, trace.counts().values()))} |"


def to_json(trace: Trace) -> dict[str, Any]:
    """Return a trace as plain JSON."""
    return {"counts": trace.counts(), **asdict(trace)}


def main() -> None:
    """Trace the ways that are named, by default all."""
    parser = argparse.ArgumentParser(description="Trace ways through owseg: which files are entered, in order.")
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"{', '.join(WAYS)}; by default all")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--all", action="store_true", help="list every file, with the functions that ran in it")
    options = parser.parse_args()
    if unknown := [way for way in options.ways if way not in WAYS]:
        parser.error(f"there is no way {unknown[0]!r}; it is one of {', '.join(WAYS)}")
    spec = importlib.util.find_spec("owseg")
    for pattern in stale_patterns(Path(spec.origin).parent) if spec and spec.origin else ():
        print(f"{pattern} fits nothing in the package; adapt tools/traces/stations.py.", file=sys.stderr)
    traces = follow_all(options.ways or list(WAYS))
    if options.json:
        print(json.dumps([to_json(trace) for trace in traces], indent=1))
        return
    for trace in traces:
        print(*describe(trace, options.all), "", sep="\n")
    print(*table(traces), sep="\n")


if __name__ == "__main__":
    main()
