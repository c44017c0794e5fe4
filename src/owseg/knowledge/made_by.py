"""What decides a result, as a few digits: whether one that is stored is what would be computed now."""

from __future__ import annotations

from dataclasses import fields
from hashlib import sha256
from typing import Any

from owseg import __version__
from owseg.knowledge.model import Model
from owseg.models.engine import Engine
from owseg.types import Forward

UNSAID = ("network", "residual", "batch", "workers", "compiled")
"""Fields of an engine that change no prediction, or that the fingerprint of the knowledge base covers."""


def made_by(kb: Model, forward: Forward | None, *others: Any) -> str | None:
    """Return a short SHA-256 of all that decides what is predicted, and which ``others``; None where it is not known.

    It is known of engines, and of what runs an export.
    """
    engine = kb.engine() if forward is None else forward
    if isinstance(engine, Engine):
        how: Any = {f.name: getattr(engine, f.name) for f in fields(engine) if f.name not in UNSAID}
    elif (how := getattr(engine, "how", None)) is None:
        return None
    return sha256(repr((__version__, kb.fingerprint(decides=True), how, others)).encode()).hexdigest()[:16]
