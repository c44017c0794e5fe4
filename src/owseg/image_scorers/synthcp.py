"""Comparing the embeddings of an image and of what is drawn of its label map ("SynthCP")."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from owseg._registry import Card
from owseg.image_scorers._stored import read_module, require_network, required, write_module
from owseg.knowledge.base import KnowledgeBase
from owseg.models.backbones.reference import state_digest
from owseg.models.generator import Generator
from owseg.models.ops import resize, size_of
from owseg.scorers.msp import msp
from owseg.types import ImageScorer, Output


class SynthCP(nn.Module):
    """The generator that draws label maps, and the ``threshold`` of 1 - MSP below which a pixel is sure.

    ``classes`` and ``network``, the SHA-256 of its weights, are those of the network it was trained for.
    """

    threshold: Tensor

    def __init__(
        self, classes: Sequence[str], network: str, generator: Mapping[str, Any], threshold: float = 0.0
    ) -> None:
        super().__init__()
        self.classes, self.network = tuple(classes), network
        self.generator = Generator(**generator)
        self.register_buffer("threshold", torch.tensor(threshold))

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build it again with random weights; plain JSON."""
        return {"classes": list(self.classes), "network": self.network, "generator": self.generator.config}


def synthcp(kb: KnowledgeBase, model: SynthCP) -> ImageScorer:
    """Return ``1 - MSP`` where that is below the threshold, else ``1 - c``, (H, W) float32 in [0, 2].

    c is the cosine of the network's embedding of the image and that of the drawing of its closed map; both maps are
    interpolated before the switch. Xia et al., ECCV 2020, in their code's form: there the confidence is MSP where MSP >
    .999 and c elsewhere. Here the threshold is from known pixels, as not every softmax is so sharp. Raises
    ``OwsegError`` for a model of another network.
    """
    require_network("synthcp", kb, model.classes, model.network, state_digest(kb.network.state_dict()))
    model = copy.deepcopy(model).to(kb.engine().device)

    @torch.no_grad()
    def score(image: np.ndarray) -> np.ndarray:
        output = kb.forward(image)
        size = (image.shape[1], image.shape[2])
        drawing = model.generator.redraw(output.logits, size)[0]
        # As an image of bytes, so that the same forward function takes it: working size, tiles and all.
        redrawn = kb.forward((drawing * 255).round().to(torch.uint8).cpu().numpy())
        unsure, apart = msp(output)[:, None], 1 - cosine(output, redrawn)[:, None]
        unsure, apart = resize(unsure.float(), size), resize(apart, size)
        result: np.ndarray = torch.where(unsure < model.threshold, unsure, apart)[0, 0].cpu().numpy()
        return result

    return score


def cosine(first: Output, second: Output) -> Tensor:
    """Return the cosine (B, h, w) float32 of two embeddings in each cell, on the grid of the first."""
    one, other = first.embedding.float(), second.embedding.float()
    return F.cosine_similarity(one, resize(other, size_of(one)), dim=1)


def save(model: SynthCP, path: str | Path) -> Path:
    """Write weights and architecture into one safetensors file, whole or not at all, and return its path."""
    return write_module(model, "synthcp", model.config, path)


def load(path: str | Path) -> SynthCP:
    """Return the model that ``save`` wrote, in evaluation mode; raise ``OwsegError`` for any other file."""
    return read_module(path, "synthcp", SynthCP, "a generator and a threshold")


CARDS = (
    Card(
        "synthcp",
        "MSP where it is sure, else how unlike the embeddings of an image and its drawing are",
        make=lambda kb, seed=0, weights="": synthcp(kb, load(required(weights, "synthcp"))),
        source="Xia et al., ECCV 2020",
        options={"weights": "the file that owseg fit-baseline synthcp stored"},
        facts={"required": ("weights",)},
    ),
)
