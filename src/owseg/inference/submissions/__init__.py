"""Score files for benchmarks whose masks are not published: one format a file; ``inference/submit.py`` writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from owseg._registry import Registry

if TYPE_CHECKING:
    from owseg.inference.submissions.base import Submission

SUBMISSIONS: Registry[Submission] = Registry("submission format", "owseg.inference.submissions")
"""Formats of submissions by name; ``make(kb, ...)`` returns a ``Submission`` for a knowledge base with a threshold."""
