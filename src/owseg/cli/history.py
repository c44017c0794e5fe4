"""``owseg history``: the versions of a knowledge base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from owseg.cli._options import KB, Json
from owseg.cli._printing import print_json, print_table


def history(kb: KB, as_json: Json = False) -> None:
    """List the versions of a knowledge base: what was done, when, by whom, and which one is current.

    With --json, also from which images what was learned.
    """
    from owseg.knowledge.lineage import version_events
    from owseg.knowledge.pretrained import resolve
    from owseg.knowledge.versions import version_history

    place = resolve(kb)
    lines = version_history(place)
    events = {v.number: version_events(place, v) for v in lines}
    if as_json:
        print_json({"versions": [{**vars(v), "events": events[v.number]} for v in lines]})
        return
    rows = [
        ("→" if v.current else "", str(v.number), "" if v.parent is None else str(v.parent),
         v.written[:16].replace("T", " "),  # to the minute, which fits beside what was done; --json has it whole
         ", ".join(_users(events[v.number])), v.message)
        for v in lines
    ]  # fmt: skip
    print_table(f"History of {kb}", ("", "version", "from", "written (UTC)", "by", "what"), rows)


def _users(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return who did what is stored of it, each once."""
    users = (details.get("user") for e in events if isinstance(details := e.get("details"), Mapping))
    return list(dict.fromkeys(str(user) for user in users if user))
