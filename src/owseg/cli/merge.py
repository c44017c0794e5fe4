"""``owseg merge``: one class in place of two."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from owseg.cli._editing import store_edited
from owseg.cli._options import KB, Json, Out, Slim
from owseg.cli._rebase import Rebase


def merge(
    kb: KB,
    a: Annotated[str, typer.Argument(metavar="A", help="A class; of the two at least one was learned.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another, whose name and colour are those of both.")],
    name: Annotated[str | None, typer.Option("--as", metavar="NAME", help="The name of both instead.")] = None,
    rebase: Rebase = True,
    out: Out = None,
    slim: Slim = False,
    as_json: Json = False,
) -> None:
    """Make one class of two learned ones, or of a learned one and one of the network. Undo with owseg rollback."""
    from owseg.knowledge.editing import merge as merged

    store_edited(kb, partial(merged, a=a, b=b, name=name), rebase, out, slim, as_json)
