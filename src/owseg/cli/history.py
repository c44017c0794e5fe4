"""``owseg history``: the versions of a knowledge base."""

from __future__ import annotations

from owseg.cli._options import KB, Json
from owseg.cli._printing import print_json, print_table


def history(kb: KB, as_json: Json = False) -> None:
    """List the versions of a knowledge base: what was done, when, and which one is current."""
    from owseg.knowledge.pretrained import resolve
    from owseg.knowledge.versions import version_history

    lines = version_history(resolve(kb))
    if as_json:
        print_json({"versions": [vars(line) for line in lines]})
        return
    rows = [
        ("→" if v.current else "", str(v.number), "" if v.parent is None else str(v.parent), v.written, v.message)
        for v in lines
    ]
    print_table(f"History of {kb}", ("", "version", "from", "written (UTC)", "what"), rows)
