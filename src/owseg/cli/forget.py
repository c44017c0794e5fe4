"""``owseg forget``: without a class that was learned."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from owseg.cli._editing import KEPT_THRESHOLD, store_edited
from owseg.cli._options import KB, Json, Out, Slim
from owseg.cli._rebase import Rebase


def forget(
    kb: KB,
    name: Annotated[str, typer.Argument(metavar="CLASS", help="A class that was learned, first or last.")],
    rebase: Rebase = True,
    out: Out = None,
    slim: Slim = False,
    as_json: Json = False,
) -> None:
    """Remove a learned class; the others are as if it had never been learned. Undo with owseg rollback."""
    from owseg.knowledge.editing import forget as forgotten

    store_edited(kb, partial(forgotten, name=name), rebase, out, slim, as_json, KEPT_THRESHOLD)
