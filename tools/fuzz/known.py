"""Failures that are being mended: each is named by its kind and a part of its reason. This list is to be empty."""

from __future__ import annotations

from tools.fuzz.run import Outcome

KNOWN: tuple[tuple[str, str], ...] = ()


def is_known(outcome: Outcome) -> bool:
    """Return whether this failure is on the list."""
    return any(outcome.kind == kind and part in outcome.reason for kind, part in KNOWN)
