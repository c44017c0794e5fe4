"""What a stored knowledge base is made of: the names of its files, and the tensors in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from owseg.increments.base import Increment
from owseg.models.network import Network
from owseg.models.residual_pattern import ResidualPattern
from owseg.scorers.base import FittedScorer

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


def weights_of(
    network: Network,
    residual: ResidualPattern | None,
    fitted: Mapping[str, FittedScorer],
    increments: Sequence[Increment],
) -> dict[str, Mapping[str, Tensor]]:
    """Return every tensor of a knowledge base that is stored, by file and name."""
    weights: dict[str, Mapping[str, Tensor]] = {NETWORK_FILE: network.state_dict()}
    if "joint" in fitted:
        weights[JOINT_FILE] = fitted["joint"].state_dict()
    if residual is not None:
        weights["residual.safetensors"] = residual.state_dict()
    for name, scorer in fitted.items():
        if name != "joint":
            weights[scorer_file(name)] = scorer.state_dict()
    for number, increment in enumerate(increments, 1):
        if tensors := increment.tensors():
            weights[increment_file(number)] = tensors
    return weights
