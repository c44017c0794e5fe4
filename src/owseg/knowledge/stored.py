"""What a stored knowledge base is made of: the names of its files, and the tensors in them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

FORMAT = 2
NETWORK_FILE, JOINT_FILE = "network.safetensors", "scorer.safetensors"
BACKBONE_PREFIX = "backbone."
"""With what the names of the backbone's tensors begin in the network's file."""


def scorer_file(name: str) -> str:
    """Return the file in which a fitted scorer other than "joint" is stored."""
    return f"scorer-{name}.safetensors"


def increment_file(number: int) -> str:
    """Return the file in which the weights of the increment ``number``, from 1, are stored."""
    return f"increment-{number}.safetensors"


def storable(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors ready to be stored, in 16 bits where that loses nothing."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    return {
        n: v.half() if v.dtype == torch.float32 and torch.equal(v.half().float(), v) else v for n, v in tensors.items()
    }
