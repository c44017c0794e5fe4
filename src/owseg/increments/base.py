"""What an increment is: a class that a knowledge base has learned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from owseg.types import Output


class Increment(Protocol):
    """One learned class: an immutable value that predicts, from the network's output, where the class is."""

    @property
    def name(self) -> str:
        """The class."""
        ...

    def predict_mask(self, output: Output, size: tuple[int, int]) -> Tensor:
        """Return where the class is, (B, H, W) bool at ``size``."""
        ...

    def update_labels(self, labels: Tensor, output: Output, label: int) -> Tensor:
        """Return the map (B, H, W) long of all classes up to this one, ``label``, given that of the classes before.

        ``label`` is any number that no pixel has so far; what is written as it is the class ``name``.
        """
        ...

    def renamed(self, names: Mapping[str, str]) -> Increment:
        """Return it with the new names of classes, by their old ones; those that are not in ``names`` stay."""
        ...

    def without(self, others: Sequence[Increment]) -> Increment:
        """Return what it would be if ``others``, which are all of one class, had not been learned."""
        ...

    def to(self, device: torch.device) -> Increment:
        """Return it with its tensors on ``device``."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return what describes it, as plain JSON; ``kind`` is its name in ``INCREMENTS``."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights that are too large for JSON, by name; there may be none."""
        ...


def kept_competitors(
    count: int, names: Sequence[str], gone: Collection[str], is_gone: Callable[[int], bool]
) -> tuple[list[int], tuple[str, ...]]:
    """Return which of ``count`` competitors stay where those of the classes ``gone`` go, from 0, and their names.

    ``names`` has the classes of the last ones. The first, from before names were stored, go where ``is_gone``.
    """
    unnamed = count - len(names)
    kept = [i for i in range(count) if not (is_gone(i) if i < unnamed else names[i - unnamed] in gone)]
    return kept, tuple(names[i - unnamed] for i in kept if i >= unnamed)
