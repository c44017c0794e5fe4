"""The kinds of increment that a stored knowledge base may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from owseg.learners.heads import Head
from owseg.learners.increment import Increment
from owseg.learners.npm import NovelPrototype
from owseg.learners.probe import LinearProbe
from owseg.models.network import Network
from owseg.scorers.joint import Joint

KINDS: dict[str, Any] = {"novel_prototype": NovelPrototype, "head": Head, "probe": LinearProbe}


def restore(value: dict[str, Any], tensors: Mapping[str, Tensor], network: Network, fitted: Joint | None) -> Increment:
    """Make an increment from what its ``to_json`` and ``tensors`` gave; ``KeyError`` for what is not one."""
    increment: Increment = KINDS[value["kind"]].restore(value, tensors, network, fitted)
    return increment
