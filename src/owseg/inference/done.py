"""What a folder of predictions says of itself, a line of JSON for each image: by it a run that was stopped goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from owseg._files import append, write_whole

RESULTS = "results.jsonl"

LONGEST = 1 << 20
"""A line with more bytes than this is none of ours."""


@dataclass(frozen=True, eq=False)
class Done:
    """The results in ``folder`` of images that were predicted as now, by the name of their maps."""

    folder: Path
    made_by: str | None
    results: Mapping[str, Mapping[str, Any]]

    @classmethod
    def begin(cls, folder: Path, made_by: str | None, overwrite: bool = False) -> Done:
        """Return what an earlier run left in ``folder``: nothing with ``overwrite``, and of a run of another kind.

        A line that is cut, as of a run that was killed, or that is not ours, is left out.
        """
        found: dict[str, Mapping[str, Any]] = {}
        path = folder / RESULTS
        if path.is_file() and made_by is not None and not overwrite:
            found = {str(r["name"]): r for r in _lines(path) if r.get("made_by") == made_by and "name" in r}
        return cls(folder, made_by, found)

    def of(self, name: str, path: Path) -> Mapping[str, Any] | None:
        """Return the result of an image if it is as it was and all of its files are there, else None."""
        result = self.results.get(name)
        if result is None or result.get("file") != _state_of(path):
            return None
        files = result.get("files")
        is_whole = isinstance(files, list) and all((self.folder / str(file)).is_file() for file in files)
        return result if is_whole else None

    def keep(self, names: Iterable[str]) -> None:
        """Remove the lines of all images but those of ``names``."""
        if (self.folder / RESULTS).is_file():
            write_whole(self.folder / RESULTS, b"".join(_line(self.results[name]) for name in names))

    def add(self, name: str, path: Path, result: Mapping[str, Any]) -> None:
        """Add the line of an image that was predicted."""
        line = {"name": name, "made_by": self.made_by, "file": _state_of(path), **result}
        append(self.folder / RESULTS, _line(line))


def _line(result: Mapping[str, Any]) -> bytes:
    return json.dumps(result, default=str).encode() + b"\n"


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    with path.open("rb") as file:
        while line := file.readline(LONGEST):
            try:
                value = json.loads(line) if line.endswith(b"\n") else None
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                yield value


def _state_of(path: Path) -> list[int]:
    """Return the size of a file in bytes and when it was written, in ns: as long as both stay it is taken as it was."""
    try:
        state = path.stat()
    except OSError:
        return []
    return [state.st_size, state.st_mtime_ns]
