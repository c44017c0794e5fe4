"""What a person decided: a log with one line for every action, and what holds when it is read from its beginning."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from owseg.data.masks import Rle
from owseg.discovery.storage import QueueImage, damaged, is_region
from owseg.errors import OwsegError

LONGEST_NAME = 60
"""How many characters the name of a class may have."""


DECISIONS = "decisions.jsonl"


ACCEPT, REJECT, RENAME, UNDO = "accept", "reject", "rename", "undo"


@dataclass(frozen=True)
class Decision:
    """What a person said of a region: accepted as the class ``name``, its ``mask`` where it was corrected; or not."""

    verdict: str
    name: str | None = None
    mask: Rle | None = None


def class_name(name: str) -> str:
    """Return a class's name without the blanks around it; raise ``OwsegError`` unless it is a line of plain text."""
    plain = name.strip() if isinstance(name, str) else ""
    if not plain or len(plain) > LONGEST_NAME or not plain.isprintable():
        raise OwsegError(f"{name!r:.99} is no class name; write 1 to {LONGEST_NAME} letters on one line.")
    return plain


def append(path: Path, action: Mapping[str, Any]) -> None:
    """Add an action to the log; it is on the disk when this returns. Raises ``OwsegError`` where it cannot be."""
    line = json.dumps({**action, "when": datetime.now(timezone.utc).isoformat(timespec="seconds")}) + "\n"
    try:
        with path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)  # nobody was told that a torn line had been stored
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OwsegError(f"{path} cannot be written ({reason}); make room.") from None


def standing(path: Path) -> list[dict[str, Any]]:
    """Return the actions that hold, in their order: what was undone is left out, and a torn last line was never taken.

    Raises ``OwsegError`` for a log that is damaged.
    """
    log = path.read_bytes() if path.exists() else b""
    with _sound(path):
        return _standing(map(json.loads, log.split(b"\n")[:-1]))


def replay(path: Path) -> dict[str, Decision]:
    """Return what holds now, by region; what was not decided is not in it. Raises ``OwsegError`` as ``standing``."""
    actions = standing(path)
    with _sound(path):
        return _replay(actions)


def _standing(actions: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    held: list[dict[str, Any]] = []
    for action in actions:
        if action["do"] == UNDO:
            held.pop()
        elif (
            action["do"] in (ACCEPT, REJECT, RENAME)
            and all(map(is_region, action["regions"]))
            and (action["do"] == REJECT or class_name(action["name"]) == action["name"])
        ):
            held.append(action)
        else:
            raise ValueError
    return held


def _replay(actions: Iterable[dict[str, Any]]) -> dict[str, Decision]:
    found: dict[str, Decision] = {}
    for action in actions:
        mask = None
        if "mask" in action:
            mask = Rle.from_json(action["mask"], (action["mask"]["size"][0], action["mask"]["size"][1]))
        for region in action["regions"]:
            if action["do"] == RENAME:
                mask = found[region].mask
            found[region] = Decision(REJECT if action["do"] == REJECT else ACCEPT, action.get("name"), mask)
    return found


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """Say in one sentence that the log is damaged."""
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        raise damaged(path) from None


MARGIN = 0.02
"""How far around a region as it was found nobody knows where the thing ends, as a share of the shorter side."""


def shot_masks(image: QueueImage, name: str, decisions: Mapping[str, Decision]) -> tuple[np.ndarray, np.ndarray]:
    """Return where the class ``name`` is in an image and what is void there, both (H, W) bool.

    The class is every region accepted as it: its corrected mask, else its core. What was rejected, or accepted as
    another class, is not of it; nor are pixels that the knowledge base knows. Void, since nobody has said what they
    are, are all other unknown pixels, and those within ``MARGIN`` of a mask that nobody has corrected.
    """
    mask, other, rough = np.zeros((3, *image.size), bool)
    void = image.unknown.mask()
    for region, found in zip(image.ids, image.regions, strict=True):
        decision, whole = decisions.get(region), found.mask.mask()
        void |= whole
        if decision is None:
            continue
        drawn = decision.mask.mask() if decision.mask else None
        if decision.name != name:
            other |= whole if drawn is None else drawn
        elif drawn is None:
            mask |= found.core.mask()
            rough |= whole
        else:
            mask |= drawn
    if rough.any():
        void |= ndimage.distance_transform_edt(~rough) <= MARGIN * min(image.size)
    return mask, void & ~mask & ~other
