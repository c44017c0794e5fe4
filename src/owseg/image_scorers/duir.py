"""Image resynthesis: where an image differs from what its own label map says ("DUIR")."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from owseg._registry import Card
from owseg.image_scorers._stored import read_module, require_network, required, write_module
from owseg.knowledge.base import KnowledgeBase
from owseg.models.backbones.base import Backbone
from owseg.models.backbones.reference import state_digest
from owseg.models.discrepancy import DiscrepancyNetwork, stages_of
from owseg.models.generator import Generator
from owseg.models.network import to_tensor
from owseg.models.ops import closed_map_at, resize, resize_image, working_size
from owseg.types import ImageScorer


class Duir(nn.Module):
    """A discrepancy network and, unless it works on labels alone, the generator that draws label maps for it.

    ``classes`` and ``backbone``, the SHA-256 of its weights, are those of the network it was trained for; ``size`` is
    the shorter side, in pixels, at which it takes images. Lis et al., ICCV 2019.
    """

    def __init__(
        self,
        classes: Sequence[str],
        backbone: str,
        size: int,
        network: Mapping[str, Any],
        generator: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.classes, self.backbone, self.size = tuple(classes), backbone, size
        self.network = DiscrepancyNetwork(**network)
        self.generator = None if generator is None else Generator(**generator)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build it again with random weights; plain JSON."""
        generator = None if self.generator is None else self.generator.config
        network = self.network.config
        return {
            "classes": list(self.classes), "backbone": self.backbone, "size": self.size, "network": network,
            "generator": generator,
        }  # fmt: skip

    def discrepancy(self, backbone: Backbone, image: Tensor, drawing: Tensor | None, labels: Tensor) -> Tensor:
        """Return the logits (B, 2, h, w) for an image, its drawing, both (B, 3, H, W), and labels (B, H, W)."""
        logits: Tensor = self.network(
            *(None if x is None else self._features(backbone, x) for x in (image, drawing)), labels
        )
        return logits

    @torch.no_grad()
    def _features(self, backbone: Backbone, image: Tensor) -> list[Tensor]:
        pyramid = backbone(image)
        return [pyramid[i].float() for i in stages_of(backbone.strides, len(self.network.config["channels"]))]


def duir(kb: KnowledgeBase, model: Duir) -> ImageScorer:
    """Return the probability of "discrepancy" of each pixel, (H, W) float32 in [0, 1]; Lis et al., ICCV 2019.

    The closed map of the base network is drawn, and image, drawing and map are compared. Raises ``OwsegError`` for a
    model of another network.
    """
    require_network("duir", kb, model.classes, model.backbone, state_digest(kb.network.backbone.state_dict()))
    backbone, model = kb.network.backbone, copy.deepcopy(model).to(kb.engine().device)

    @torch.no_grad()
    def score(image: np.ndarray) -> np.ndarray:
        full = (image.shape[1], image.shape[2]) if image.ndim == 3 else (1, 1)
        x = to_tensor(image)
        size = working_size(full, model.size, 1.0, 32)
        logits = kb.forward(image).logits.float()
        x = resize_image(x.to(logits.device), size)
        labels = closed_map_at(logits, size)
        drawing = None if model.generator is None else model.generator.redraw(logits, size)
        found = resize(model.discrepancy(backbone, x, drawing, labels), full).softmax(1)
        result: np.ndarray = found[0, 1].cpu().numpy()
        return result

    return score


def save(model: Duir, path: str | Path) -> Path:
    """Write weights and architecture into one safetensors file, whole or not at all, and return its path."""
    return write_module(model, "duir", model.config, path)


def load(path: str | Path) -> Duir:
    """Return the model that ``save`` wrote, in evaluation mode; raise ``OwsegError`` for any other file."""
    return read_module(path, "duir", Duir, "a discrepancy network")


CARDS = (
    Card(
        "duir",
        "where an image differs from what is drawn of its label map, or from the map alone",
        make=lambda kb, seed=0, weights="": duir(kb, load(required(weights, "duir"))),
        source="Lis et al., ICCV 2019",
        options={"weights": "the file that owseg fit-baseline duir stored"},
        facts={"required": ("weights",)},
    ),
)
