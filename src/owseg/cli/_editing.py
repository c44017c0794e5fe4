"""What commands that change the classes of a knowledge base, and learn nothing, have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from owseg.cli._printing import next_command, save_version
from owseg.cli._rebase import on_newest

if TYPE_CHECKING:
    from owseg.knowledge.base import KnowledgeBase


KEPT_THRESHOLD = "The threshold was not changed; owseg calibrate finds it anew.\n"
"""What is said where a class comes or goes and no data was given."""


def store_edited(
    kb: str,
    change: Callable[[KnowledgeBase], KnowledgeBase],
    rebase: bool,
    out: str | None,
    slim: bool,
    as_json: bool,
    note: str = "",
) -> None:
    """Store ``change`` of the knowledge base as a new version, on what is current by then; print it and ``note``."""
    from owseg.knowledge.load import load
    from owseg.knowledge.pretrained import writable
    from owseg.learners.sequence import save_stages

    target, base = writable(kb, out), load(kb)
    hint = note + next_command("predict", "--kb", target, "IMAGES")

    def step(base: KnowledgeBase) -> None:
        made = change(base)
        save_stages(base, [], target, slim)  # as it was, so that it can be undone
        save_version(made, target, as_json, hint, slim)

    on_newest(step, kb, target, base, rebase, load)
