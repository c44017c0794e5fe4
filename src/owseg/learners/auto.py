"""The learner of a name with its options, and the default."""

from __future__ import annotations

from collections.abc import Mapping

from owseg._registry import with_options
from owseg.knowledge.base import KnowledgeBase
from owseg.learners import LEARNERS
from owseg.learners.base import Learner


def learner_for(kb: KnowledgeBase) -> Learner:
    """Return the default learner: the probe, or NPM where ``kb`` has no fitted feature space."""
    return LEARNERS["probe" if kb.feature_space is not None else "npm"].make()


def learner_named(method: str, options: Mapping[str, str] | None = None) -> Learner:
    """Return the learner called ``method`` with ``options``, given as text (``{"radius": "4"}``).

    Raises ``OwsegError`` for a name that is not in ``LEARNERS``, an option that it does not have and a bad value.
    """
    return with_options(LEARNERS[method], options or {})
