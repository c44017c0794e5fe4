"""The log of a reviewer's actions, a row each: who did what, and when. Rows are only ever added.

An action accepts regions as a new class, rejects them, marks them as a known class, renames accepted ones, moves
regions to another group, or undoes the last action that holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from sqlite3 import Connection

from owseg.data.masks import Rle, check_size
from owseg.discovery.contents import REGION_ID, is_region_id, to_bytes, to_text
from owseg.knowledge.event import user_name
from owseg.labels import check_class_name

ACCEPT, REJECT, KNOWN, RENAME, MOVE, UNDO = "accept", "reject", "known", "rename", "move", "undo"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


@dataclass(frozen=True)
class Action:
    """What a reviewer did; raises ``ValueError`` for what no reviewer could have done.

    ``do`` is ``ACCEPT``, ``REJECT``, ``KNOWN``, ``RENAME``, ``MOVE`` or ``UNDO``, ``name`` the class and ``mask`` the
    corrected mask, where it has one. Of a move, ``name`` is the region whose group they join, None for a group of their
    own. ``time`` is in UTC (ISO 8601) and ``user`` the name of the account, "" where unknown.
    """

    do: str
    regions: tuple[str, ...] = ()
    name: str | None = None
    mask: Rle | None = None
    time: str = field(default_factory=_now)
    user: str = field(default_factory=user_name)

    def __post_init__(self) -> None:
        if self.do not in (ACCEPT, REJECT, KNOWN, RENAME, MOVE, UNDO) or not all(
            map(REGION_ID.fullmatch, self.regions)
        ):
            raise ValueError(f"{self.do!r} is no action, or one of its regions none.")
        if self.do in (ACCEPT, KNOWN, RENAME) and class_name(self.name) != self.name:
            raise ValueError(f"{self.name!r} is not the name of a class.")
        if self.do == MOVE and not (self.name is None or is_region_id(self.name)):
            raise ValueError(f"{self.name!r} is no region, whose group others could join.")


def class_name(name: object) -> str:
    """Return ``name`` without surrounding blanks; raise ``OwsegError`` for one that is none (``is_class_name``)."""
    stripped = name.strip() if isinstance(name, str) else name
    check_class_name(stripped)
    return str(stripped)


def insert_action(db: Connection, action: Action) -> None:
    """Add an action to the log."""
    name = None if action.name is None else to_bytes(action.name)
    mask = (None, None, None) if action.mask is None else (*action.mask.size, action.mask.code)
    row = action.time, action.user, action.do, name, " ".join(action.regions), *mask
    db.execute("INSERT INTO actions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def read_actions(db: Connection, start: int = 1) -> Iterator[tuple[int, Action]]:
    """Yield the actions from number ``start`` on, with their numbers, in the order in which they were done."""
    for number, time, user, do, name, regions, height, width, code in db.execute(
        "SELECT * FROM actions WHERE id >= ? ORDER BY id", (start,)
    ):
        mask = None if code is None else Rle.from_code(code, check_size(height, width))
        name = None if name is None else to_text(name)
        yield number, Action(do, tuple(regions.split()), name, mask, str(time), str(user))
