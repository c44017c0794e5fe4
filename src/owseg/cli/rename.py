"""``owseg rename``: another name for a class."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from owseg.cli._editing import store_edited
from owseg.cli._options import KB, Json, Out, Slim
from owseg.cli._rebase import Rebase


def rename(
    kb: KB,
    old: Annotated[str, typer.Argument(metavar="OLD", help="A class, of the network or learned.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name; the colour stays.")],
    rebase: Rebase = True,
    out: Out = None,
    slim: Slim = False,
    as_json: Json = False,
) -> None:
    """Give a class another name. Undo with owseg rollback."""
    from owseg.knowledge.editing import rename as renamed

    store_edited(kb, partial(renamed, old=old, new=new), rebase, out, slim, as_json)
