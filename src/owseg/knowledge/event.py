"""What a history is made of."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any


@dataclass(frozen=True)
class Event:
    """One entry of a knowledge base's history: what was done, when (UTC), with which data and settings.

    The time has milliseconds: what is done, undone and done again is another event, though it reads the same.
    """

    action: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)
    when: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="milliseconds"))


def last_calibration(history: Sequence[Event], scorer: str) -> dict[str, Any] | None:
    """Return the details of the last calibration of a score, and when it was; None where there was none."""
    # One for obstacles is of another score.
    found = [e for e in history if e.action == "calibrate" and e.details.get("scorer", scorer) == scorer]
    return {**found[-1].details, "when": found[-1].when} if found else None


def user_name() -> str:
    """Return the name under which whoever runs this is logged in; empty where the system does not tell."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # nobody of that number, as in a container; Windows has no pwd
        return ""
