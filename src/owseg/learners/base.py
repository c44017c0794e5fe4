"""What a learner is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from owseg.increments.base import Increment
from owseg.knowledge.base import KnowledgeBase
from owseg.types import Forward, Shot


class Learner(Protocol):
    """A method to learn a class: a frozen dataclass of its options, called with a knowledge base and the shots."""

    @property
    def method(self) -> str:
        """Its name in ``LEARNERS``."""
        ...

    def __call__(self, kb: KnowledgeBase, name: str, shots: Sequence[Shot], forward: Forward) -> tuple[Increment, ...]:
        """Return the increments of the updated knowledge base, the new one last; the network stays as it is.

        ``shots`` may be many, and are read again each time that they are asked for; one at least shows the class, and
        others may be counterexamples (see ``Shot``). The class may be known already (see ``correct``).
        """
        ...
