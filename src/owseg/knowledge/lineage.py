"""What a knowledge base was made from, so that no save hides what others stored meanwhile.

It knows the version that it was loaded from. What it stored itself since then is recognised by its history: that of the
version is the beginning of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from owseg._files import read_json
from owseg.errors import OwsegError
from owseg.knowledge.commit import require_current
from owseg.knowledge.versions import (
    Version,
    current_version,
    pointed_name,
    read_version,
    stored_numbers,
    version_folder,
    version_name,
)

KNOWLEDGE_FILE = "knowledge.json"
"""The file of a version that says what the knowledge base is, with its history."""


@dataclass(frozen=True)
class Origin:
    """The version ``number`` of the absolute ``directory`` that a knowledge base was loaded from.

    ``current`` is what CURRENT named then, and ``newest`` the highest number that there was.
    """

    directory: Path
    number: int
    current: str | None
    newest: int


def read_origin(directory: Path, version: int | None = None) -> tuple[Origin, Path]:
    """Return where a knowledge base is loaded from, and the version's folder; raises as ``read_version`` does."""
    pointed = pointed_name(directory) if directory.is_dir() else None
    number, folder = read_version(directory, version)
    # The current one may have changed after ``pointed`` was read: what is loaded is then the new one.
    current = folder.name if version is None else pointed
    return Origin(directory.resolve(), number, current, max(stored_numbers(directory))), folder


def find_parent(directory: Path, history: Sequence[Mapping[str, Any]], origin: Origin | None) -> tuple[int | None, int]:
    """Return the version that a knowledge base was made from, and how many events of its ``history`` that one has.

    It is the latest that begins its history among those stored since it was loaded, else the one that it was loaded
    from; (None, 0) for one that comes from elsewhere. Called while ``writing``. Raises ``NotCurrent`` where that
    version is no longer current; one that was not current when it was loaded, by its number, begins a branch.
    """
    ours = _as_text(history)
    here = origin if origin is not None and origin.directory == directory.resolve() else None
    since = 0 if here is None else here.newest
    begun = ((_begun(ours, directory, number), number) for number in stored_numbers(directory) if number > since)
    events, parent = max(begun, default=(0, 0))
    if events:
        require_current(directory, parent)
        return parent, events
    if here is None:
        now = pointed_name(directory)
        # One that was made in Python may have no history: what is stored on top of it is taken for made from it.
        return (current_version(directory), 0) if now and _has_no_history(directory / now) else (None, 0)
    require_current(directory, here.number, here.current)
    return here.number, _begun(ours, directory, here.number)


def version_events(directory: Path, version: Version) -> list[dict[str, Any]]:
    """Return the events by which a version differs from its parent, as it stores them; none where it is damaged."""
    own, before = (
        [] if number is None else _stored_history(directory / version_name(number)) or []
        for number in (version.number, version.parent)
    )
    since = own[len(before) if own[: len(before)] == before else 0 :]
    return [event for event in map(json.loads, since) if isinstance(event, dict)]


def _begun(history: list[str], directory: Path, number: int) -> int:
    """Return how many events version ``number`` has, 0 unless ``history`` begins with all of them."""
    stored = _stored_history(version_folder(directory, number))
    if stored is None:
        return 0  # a damaged version is nobody's beginning
    return len(stored) if history[: len(stored)] == stored else 0


def _has_no_history(folder: Path) -> bool:
    return _stored_history(folder) == []


def _stored_history(folder: Path) -> list[str] | None:
    """Return the events of a version as text, None where they cannot be read."""
    try:
        return _as_text(read_json(folder / KNOWLEDGE_FILE)["history"])
    except (OwsegError, OSError, KeyError, TypeError):
        return None


def _as_text(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the events as JSON of one form: what was stored and loaded again has lists for tuples."""
    return [json.dumps(event, sort_keys=True) for event in json.loads(json.dumps(list(history)))]
