"""Doing the work of a command again, where another version was stored meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._printing import print_note
from owseg.errors import NotCurrent

if TYPE_CHECKING:
    from owseg.knowledge.base import KnowledgeBase

TRIES = 5
"""How often the work is done before it is given up: each time somebody else was faster."""


Rebase = Annotated[
    bool,
    typer.Option(
        "--rebase/--no-rebase",
        help="Where another version of KB was stored meanwhile: do the work again on that one, or store nothing.",
    ),
]


def on_newest(
    step: Callable[[KnowledgeBase], None],
    kb: str,
    target: str,
    base: KnowledgeBase,
    rebase: bool,
    load: Callable[[str], KnowledgeBase],
) -> None:
    """Run ``step(base)``, which stores in ``target`` what it makes of ``base``, which is ``load(kb)``.

    With ``rebase`` it is run again with what ``kb`` is by then, where another version was stored there meanwhile.
    Raises ``NotCurrent`` without it, after ``TRIES`` times, and where ``target`` is another place, as then what is
    loaded does not change.
    """
    again = TRIES - 1 if rebase and Path(kb).resolve() == Path(target).resolve() else 0
    for left in range(again, -1, -1):
        try:
            return step(base)
        except NotCurrent:
            if not left:
                raise
        print_note(f"Another version of {target} was stored meanwhile; the work is done again on that one.")
        base = load(kb)
