"""What commands that change the classes of a knowledge base, and learn nothing, have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from owseg.cli._printing import next_command, save_version
from owseg.cli._rebase import on_newest

if TYPE_CHECKING:
    from owseg.knowledge.base import KnowledgeBase


def store_edited(
    kb: str, change: Callable[[KnowledgeBase], KnowledgeBase], rebase: bool, out: str | None, slim: bool, as_json: bool
) -> None:
    """Store ``change`` of the knowledge base as a new version, on what is current by then, and print what it is now."""
    from owseg.knowledge.load import load
    from owseg.knowledge.pretrained import writable
    from owseg.learners.sequence import save_stages

    target, base = writable(kb, out), load(kb)
    hint = next_command("predict", "--kb", target, "IMAGES")

    def step(base: KnowledgeBase) -> None:
        made = change(base)
        save_stages(base, [], target, slim)  # as it was, so that it can be undone
        save_version(made, target, as_json, hint, slim)

    on_newest(step, kb, target, base, rebase, load)
