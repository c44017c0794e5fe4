"""Naming a backbone instead of storing it: one whose weights are those of a package that is installed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor

from owseg.errors import OwsegError
from owseg.models.backbones.base import Backbone, from_pretrained


def reference_to(backbone: Backbone) -> dict[str, str]:
    """Return the name under which ``from_pretrained`` finds these very weights, and their SHA-256; plain JSON.

    Raises ``OwsegError`` where they are not those of a package: where it was trained further, for one.
    """
    name = backbone.family.published_name(backbone.model)
    if name is None or (digest := state_digest(backbone.state_dict())) != state_digest(
        from_pretrained(name).state_dict()
    ):
        raise OwsegError(
            "this backbone cannot be named instead of being stored: its weights are not those of a package; store it "
            "whole, without --slim."
        )
    return {"name": name, "sha256": digest}


def referenced(reference: Mapping[str, str], backbone: Backbone) -> dict[str, Tensor]:
    """Return the state of ``backbone`` that ``reference_to`` named.

    Only the package of this very architecture is asked: a file that someone else made cannot have anything else loaded,
    or asked for on a network. Raises ``OwsegError`` for another name, and where the package is not installed, or holds
    other weights.
    """
    name = backbone.family.published_name(backbone.model)
    if name is None or reference["name"] != name:
        raise OwsegError(f"{reference['name']!r} names no weights of this backbone; store it whole, without --slim.")
    state = from_pretrained(name).state_dict()
    if state_digest(state) != reference["sha256"]:
        raise OwsegError(
            f"the weights of {name} that are installed are not those that this knowledge base was made with (their "
            "SHA-256 differs); install its package anew, or train again."
        )
    return state


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors and their names."""
    return hashlib.sha256(save({name: value.cpu().contiguous() for name, value in state.items()})).hexdigest()
