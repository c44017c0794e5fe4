"""Learning a class from a few annotated images: one method a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from owseg._registry import Registry

if TYPE_CHECKING:
    from owseg.learners.base import Learner

LEARNERS: Registry[Learner] = Registry("method", "owseg.learners")
"""Methods by name; ``make(**options)`` returns a learner."""
