"""The decisions about regions, and the moves between groups, that follow from the log of actions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from threading import Lock

from owseg.data.masks import Rle
from owseg.discovery.database import sound
from owseg.discovery.log import ACCEPT, KNOWN, MOVE, REJECT, RENAME, UNDO, Action, read_actions


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


class Decisions:
    """The decisions that a log holds. What was read is kept: to read again costs what was added since, by whomever.

    ``path`` is that of the database, which errors name; the methods raise ``OwsegError`` for a log that is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()  # a class is learned in a thread of its own
        self._forget()

    def _forget(self) -> None:
        self._last = 0, ""  # number and time of the last action that was read
        self._found: dict[str, Decision] = {}
        self._moves: list[Action] = []  # those that hold
        # For each action that holds the decisions that it replaced; None for a move.
        self._before: list[dict[str, Decision | None] | None] = []

    def read(self, db: Connection) -> dict[str, Decision]:
        """Return the decision about each decided region, by the region's id, in the order of the first ones."""
        with self._lock:
            self._update(db)
            return dict(self._found)

    def moves(self, db: Connection) -> tuple[Action, ...]:
        """Return the moves that hold, in the order in which they were made."""
        with self._lock:
            self._update(db)
            return tuple(self._moves)

    def any_action(self, db: Connection) -> bool:
        """Return whether an action holds, which could be undone."""
        with self._lock:
            self._update(db)
            return bool(self._before)

    def _update(self, db: Connection) -> None:
        number, time = self._last
        if number and db.execute("SELECT time FROM actions WHERE id = ?", (number,)).fetchone() != (time,):
            self._forget()  # another log is in its place
        with sound(self.path):
            for number, action in read_actions(db, self._last[0] + 1):
                self._take(action)
                self._last = number, action.time

    def _take(self, action: Action) -> None:
        if action.do == UNDO:
            # The last that still holds, so that several in a row go further back. Two processes of an older version
            # could undo one action at once: the second undid nothing.
            replaced = self._before.pop() if self._before else {}
            if replaced is None:
                self._moves.pop()
            for region, decision in (replaced or {}).items():
                if decision is None:
                    self._found.pop(region, None)
                else:
                    self._found[region] = decision
            return
        if action.do == MOVE:
            self._moves.append(action)
            self._before.append(None)
            return
        new, replaced = _decision_of(action), {region: self._found.get(region) for region in action.regions}
        self._before.append(replaced)
        for region, before in replaced.items():
            if action.do != RENAME:
                # Of several decisions the last counts; the dict keeps the place of the first.
                self._found[region] = new
            elif before is not None and before.name is not None:
                # A corrected mask stays as it is.
                self._found[region] = Decision(ACCEPT, new.name, before.mask) if before.mask else new
            # else as with undo: what it named had been undone or rejected by another process


def _decision_of(action: Action) -> Decision:
    if action.do == REJECT:
        return Decision(REJECT)
    if action.do == KNOWN:
        return Decision(KNOWN, known=action.name)
    return Decision(ACCEPT, action.name, action.mask)
