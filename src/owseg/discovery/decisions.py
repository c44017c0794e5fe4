"""The log of a reviewer's actions, one line each, and the decisions that follow from it.

An action accepts regions as a new class, rejects them, marks them as a known class, renames accepted ones, or undoes
the last action that holds. Lines are only ever added, and by one process at a time, so neither a kill nor another
writer loses an action that was confirmed.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock
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


class Decisions:
    """The decisions that a log holds. What was read is kept: to read again costs what was added since, by whomever.

    Its methods raise ``OwsegError`` for a log that is damaged, or has more than ``MAX_LOG`` bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()  # a class is learned in a thread of its own
        self._forget()

    def _forget(self) -> None:
        self._inode: int | None = None
        self._end, self._last = 0, b""  # where the lines end that were read, and the last of them
        self._found: dict[str, Decision] = {}
        self._before: list[dict[str, Decision | None]] = []  # for each action that holds, what it replaced

    def read(self) -> dict[str, Decision]:
        """Return the decision about each decided region, by the region's id, in the order of the first ones."""
        with self._lock:
            self._update()
            return dict(self._found)

    def any_action(self) -> bool:
        """Return whether an action holds, which could be undone."""
        with self._lock:
            self._update()
            return bool(self._before)

    def _update(self) -> None:
        inode = self.path.stat().st_ino if self.path.exists() else None
        log = b"" if inode is None else read_at_most(self.path, MAX_LOG, self._end - len(self._last))
        if inode != self._inode or not log.startswith(self._last):  # another log is in its place
            self._forget()
            self._inode, log = inode, b"" if inode is None else read_at_most(self.path, MAX_LOG)
        try:
            for line in log[len(self._last) :].split(b"\n")[:-1]:  # without a torn last line
                self._take(json.loads(line))
                self._end, self._last = self._end + len(line) + 1, line + b"\n"
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            raise damaged(self.path) from None

    def _take(self, action: dict[str, Any]) -> None:
        do = action["do"]
        if do == UNDO:
            # The last that still holds, so that several in a row go further back. Two processes of an older version
            # could undo one action at once: the second undid nothing.
            for region, decision in (self._before.pop() if self._before else {}).items():
                if decision is None:
                    self._found.pop(region, None)
                else:
                    self._found[region] = decision
            return
        regions = action["regions"]
        if do not in (ACCEPT, REJECT, KNOWN, RENAME) or not all(map(is_region_id, regions)):
            raise ValueError
        if do != REJECT and class_name(action["name"]) != action["name"]:
            raise ValueError
        new = _decision_of(action)
        self._before.append({region: self._found.get(region) for region in regions})
        for region, before in self._before[-1].items():
            if do != RENAME:
                # Of several decisions the last counts; the dict keeps the place of the first.
                self._found[region] = new
            elif before is not None and before.name is not None:
                self._found[region] = replace(before, name=new.name)  # a corrected mask stays as it is
            # else as with undo: what it named had been undone or rejected by another process


def _decision_of(action: Mapping[str, Any]) -> Decision:
    mask = action.get("mask")
    rle = None if mask is None else Rle.from_json(mask, (mask["size"][0], mask["size"][1]))
    if action["do"] == REJECT:
        return Decision(REJECT)
    if action["do"] == KNOWN:
        return Decision(KNOWN, known=action["name"])
    return Decision(ACCEPT, action["name"], rle)
