"""What learning a class leaves in a knowledge base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from owseg.learners.shots import Look, Shot
from owseg.types import Output

if TYPE_CHECKING:
    from owseg.knowledge import KnowledgeBase


class Increment(Protocol):
    """One learned class: an immutable value that knows where the class is in what the network made of a picture."""

    @property
    def name(self) -> str:
        """The class."""
        ...

    def claim(self, output: Output, size: tuple[int, int]) -> Tensor:
        """Return where the class is, (B, H, W) bool at ``size``."""
        ...

    def relabel(self, labels: Tensor, output: Output, label: int) -> Tensor:
        """Return the map (B, H, W) long of all classes up to this one, ``label``, given that of those before."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return what describes it, as plain JSON; ``kind`` names the sort of increment."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights that are too large for JSON, by name; none is fine."""
        ...


class Learner(Protocol):
    """A way to learn: a frozen dataclass of its options, called with what is known and what is shown."""

    @property
    def method(self) -> str:
        """How the history and the command line call it."""
        ...

    def __call__(self, kb: KnowledgeBase, name: str, shots: Sequence[Shot], look: Look) -> tuple[Increment, ...]:
        """Return the increments of the wiser knowledge base, old and new; the network stays as it is."""
        ...
