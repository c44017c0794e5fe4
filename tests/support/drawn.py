"""Small generators and what draws with them, for the tests."""

from __future__ import annotations

import torch

from owseg.image_scorers.duir import Duir
from owseg.image_scorers.synthcp import SynthCP
from owseg.knowledge.base import KnowledgeBase
from owseg.models.backbones.reference import state_digest
from owseg.models.discrepancy import DiscrepancyNetwork, stages_of

GENERATOR = {"classes": 3, "width": 4, "depth": 2, "blocks": 1, "side": 16}


def duir_of(kb: KnowledgeBase, drawn: bool = True, size: int = 48) -> Duir:
    backbone = kb.network.backbone
    torch.manual_seed(0)
    channels = [backbone.channels[i] for i in stages_of(backbone.strides, 2)]
    network = DiscrepancyNetwork(channels, 3, (4, 5), (3, 4), drawn).config
    digest = state_digest(backbone.state_dict())
    return Duir(kb.base_classes, digest, size, network, GENERATOR if drawn else None).eval()


def synthcp_of(kb: KnowledgeBase, threshold: float = 0.2) -> SynthCP:
    torch.manual_seed(0)
    return SynthCP(kb.base_classes, state_digest(kb.network.state_dict()), GENERATOR, threshold).eval()
