"""What a folder of predictions says of itself, a line of JSON for each image: by it a run that was stopped goes on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from owseg import __version__
from owseg._files import append, csv_cell, write_whole
from owseg.knowledge.base import KnowledgeBase
from owseg.models.engine import Engine
from owseg.types import Forward

RESULTS, ERRORS = "results.jsonl", "errors.csv"
"""The lines, and the images that have no prediction with the reasons; the second is there only if there is one."""

LONGEST = 1 << 20
"""A line with more bytes than this is none of ours."""

UNSAID = ("network", "residual", "batch", "workers", "compiled")
"""Fields of an engine that change no prediction, or that the fingerprint of the knowledge base covers."""


def made_by(kb: KnowledgeBase, forward: Forward | None, *files: Any) -> str | None:
    """Return a short SHA-256 of all that decides what is predicted, and which ``files``; None where it is not known.

    It is known of engines alone.
    """
    engine = kb.engine() if forward is None else forward
    if not isinstance(engine, Engine):
        return None
    how = {f.name: getattr(engine, f.name) for f in fields(engine) if f.name not in UNSAID}
    return sha256(repr((__version__, kb.fingerprint(decides=True), how, files)).encode()).hexdigest()[:16]


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


def write_errors(folder: Path, errors: Iterable[tuple[Path, str]]) -> None:
    """Write the images without a prediction and the reasons as ``ERRORS``; without one, remove that file."""
    rows = [(str(path), error) for path, error in errors]
    if not rows:
        (folder / ERRORS).unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("path", "error"), *((csv_cell(path), csv_cell(error)) for path, error in rows)])
    write_whole(folder / ERRORS, text.getvalue().encode(errors="surrogateescape"))


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
