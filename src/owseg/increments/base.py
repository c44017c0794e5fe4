"""What an increment is: a class that a knowledge base has learned."""

from __future__ import annotations

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
        """Return the map (B, H, W) long of all classes up to this one, ``label``, given that of the classes before."""
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
