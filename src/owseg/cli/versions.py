"""The versions of a knowledge base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli.options import KB, Json
from owseg.cli.printing import print_json, print_table
from owseg.errors import OwsegError


def history(kb: KB, as_json: Json = False) -> None:
    """List the versions of a knowledge base: what was done, when, and which one is in use."""
    from owseg import store
    from owseg.shipped import resolve

    lines = store.history(resolve(kb))
    if as_json:
        print_json({"versions": [vars(line) for line in lines]})
        return
    rows = [
        ("→" if v.current else "", str(v.number), "" if v.parent is None else str(v.parent), v.written, v.message)
        for v in lines
    ]
    print_table(f"History of {kb}", ("", "version", "from", "written (UTC)", "what"), rows)


def rollback(
    kb: KB,
    version: Annotated[int | None, typer.Argument(help="The version to use; by default the one before.")] = None,
    as_json: Json = False,
) -> None:
    """Use an earlier version again. Nothing is deleted: name a later one to go forward."""
    from owseg import store

    if not Path(kb).exists():
        raise OwsegError(f"{kb} is no directory; name a knowledge base of your own.")
    number = store.rollback(kb, version)
    if as_json:
        print_json({"version": number})
    else:
        print(f"{kb} is at version {number} now.")
