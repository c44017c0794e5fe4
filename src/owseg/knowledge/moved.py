"""A knowledge base and the engine that runs it, on another device."""

from __future__ import annotations

from dataclasses import replace

import torch

from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.model import Model
from owseg.models.engine import Engine
from owseg.types import Forward


def moved_to(kb: Model, forward: Forward, device: torch.device) -> tuple[KnowledgeBase, Engine]:
    """Return ``kb`` on ``device``, and ``forward``, which runs its network, with the network that is there.

    Raises ``OwsegError`` for a ``forward`` that is not an ``Engine``: its network is not known.
    """
    if not (isinstance(forward, Engine) and isinstance(kb, KnowledgeBase)):
        raise OwsegError("only an Engine can be run elsewhere, as a knowledge base's engine() returns it.")
    kb = kb.to(device)
    return kb, replace(forward, network=kb.network, residual=kb.residual)
