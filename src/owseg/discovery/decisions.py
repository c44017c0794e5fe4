"""The log of a reviewer's actions, one line each, and the decisions that follow from it.

An action accepts regions as a new class, rejects them, marks them as a known class, renames accepted ones, or undoes
the last action that holds. Lines are only ever added, and by one process at a time, so neither a kill nor another
writer loses an action that was confirmed.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from owseg._files import locked, read_at_most
from owseg.data.masks import Rle
from owseg.discovery.storage import damaged, is_region_id
from owseg.errors import OwsegError
from owseg.labels import check_class_name

MAX_LOG = 256 << 20
"""The bytes that the log may have: thousands of corrected masks."""


DECISIONS, LOCK = "decisions.jsonl", ".lock"


ACCEPT, REJECT, KNOWN, RENAME, UNDO = "accept", "reject", "known", "rename", "undo"


@dataclass(frozen=True)
class Decision:
    """The decision about one region.

    ``action`` is ``ACCEPT``, ``REJECT`` or ``KNOWN``. An accepted region has the ``name`` of its new class and, where
    the reviewer corrected it, its ``mask``; one that is no unknown thing has the known class that it shows, ``known``.
    """

    action: str
    name: str | None = None
    mask: Rle | None = None
    known: str | None = None

    def __repr__(self) -> str:
        corrected, shown = ", mask corrected" if self.mask else "", self.name or self.known
        return f"Decision({self.action}{'' if shown is None else f' as {shown!r}'}{corrected})"


def class_name(name: str) -> str:
    """Return ``name`` without surrounding blanks; raise ``OwsegError`` for one that is none (``is_class_name``)."""
    stripped = name.strip() if isinstance(name, str) else name
    check_class_name(stripped)
    return stripped


def append_action(path: Path, action: Mapping[str, Any], check: Callable[[], object] = lambda: True) -> bool:
    """Add an action to the log, unless ``check()`` is false, and return whether it was added.

    Nobody else adds an action between the check and the writing, and it is on the disk when this returns. Raises
    ``OwsegError`` if it cannot be written, and what ``check`` raises.
    """
    line = json.dumps({**action, "when": datetime.now(timezone.utc).isoformat(timespec="seconds")}) + "\n"
    try:
        with locked(path.with_name(LOCK)):
            if not check():
                return False
            _append(path, line.encode())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OwsegError(f"{path} cannot be written ({reason}); free some space, or check its permissions.") from None
    return True


def _append(path: Path, line: bytes) -> None:
    with path.open("ab+", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        if file.read(1) not in (b"", b"\n"):
            # A torn last line was never confirmed to anybody.
            end = read_at_most(path, MAX_LOG).rfind(b"\n") + 1
            file.truncate(end)
        if end + len(line) > MAX_LOG:
            raise OSError(errno.EFBIG, f"it would have more than {MAX_LOG >> 20} MiB")
        try:
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, "no space left")
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(end)  # what is not confirmed does not come back later
            raise


def active_actions(path: Path) -> list[dict[str, Any]]:
    """Return the actions of the log in their order, without those that were undone and without a torn last line.

    Raises ``OwsegError`` for a log that is damaged, or has more than ``MAX_LOG`` bytes.
    """
    log = read_at_most(path, MAX_LOG) if path.exists() else b""
    with _undamaged(path):
        return _active(map(json.loads, log.split(b"\n")[:-1]))


def read_decisions(path: Path) -> dict[str, Decision]:
    """Return the decision about each decided region, by the region's id; errors as in ``active_actions``."""
    actions = active_actions(path)
    with _undamaged(path):
        return _decisions(actions)


def _active(actions: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    active: list[dict[str, Any]] = []
    for action in actions:
        if action["do"] == UNDO:
            # The last that still holds, so that several in a row go further back. Two processes of an older version
            # could undo one action at once: the second undid nothing.
            if active:
                active.pop()
        elif (
            action["do"] in (ACCEPT, REJECT, KNOWN, RENAME)
            and all(map(is_region_id, action["regions"]))
            and (action["do"] == REJECT or class_name(action["name"]) == action["name"])
        ):
            active.append(action)
        else:
            raise ValueError
    return active


def _decisions(actions: Iterable[dict[str, Any]]) -> dict[str, Decision]:
    found: dict[str, Decision] = {}
    for action in actions:
        do, mask = action["do"], None
        if "mask" in action:
            mask = Rle.from_json(action["mask"], (action["mask"]["size"][0], action["mask"]["size"][1]))
        for region in action["regions"]:
            if do == RENAME:
                before = found.get(region)
                if before is None or before.name is None:
                    continue  # as with undo: what it named had been undone or rejected by another process
                mask = before.mask  # a new name leaves the corrected mask as it is
            # Of several decisions the last counts; the dict keeps the place of the first.
            if do == REJECT:
                found[region] = Decision(REJECT)
            elif do == KNOWN:
                found[region] = Decision(KNOWN, known=action["name"])
            else:
                found[region] = Decision(ACCEPT, action["name"], mask)
    return found


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    """Turn whatever reading a damaged log raises into an ``OwsegError`` that names it."""
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise damaged(path) from None
