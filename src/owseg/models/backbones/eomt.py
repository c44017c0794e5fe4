"""The blocks of an EoMT before its queries, as a family of backbones (see ``owseg.models.published.eomt``)."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.models.backbones.family import IMAGENET, TransformersFamily, to_strides
from owseg.models.backbones.vit import STRIDES
from owseg.models.ops import resize, size_of
from owseg.models.published.eomt import EomtEncoder, TokenPyramid
from owseg.models.published.mask_classifiers import from_config


class Eomt(TransformersFamily):
    """The family ``eomt``: of its n blocks the 1/4 n-th, 1/2 n-th, 3/4 n-th and last become the pyramid.

    As of every plain transformer (see ``ViT``), their maps are resized to ``STRIDES``. Each is normalised without
    weights, as the layer norm of the model belongs to its queries. The image is resized to the square that it takes.
    """

    mean, std = IMAGENET

    def from_pretrained(self, name: str, config: Any, output_stride: int) -> nn.Module:
        """Raise ``OwsegError``: it is published with its queries alone."""
        raise OwsegError("an EoMT is loaded as a whole network: hf:NAME.")

    def from_config(self, config: dict[str, Any]) -> nn.Module:
        """Return an encoder with random weights from the configuration of the whole model."""
        return EomtEncoder(from_config(config))

    def features(self, model: Any, image: Tensor) -> tuple[Tensor, ...]:
        """Return the four maps at ``STRIDES``, with the tokens of the last block."""
        side = int(model.config.image_size)
        blocks = model(resize(image, (side, side)))
        chosen = [blocks[max(0, round(len(blocks) * part) - 1)] for part in (0.25, 0.5, 0.75, 1.0)]
        maps = [model.to_map(F.layer_norm(tokens, tokens.shape[-1:])) for tokens in chosen]
        return TokenPyramid.of(to_strides(maps, STRIDES, size_of(image)), blocks[-1])

    def stem(self, model: nn.Module) -> list[nn.Module]:
        """Return nothing: only published weights are used, which are not trained further."""
        return []


CARDS = (
    Card(
        "eomt",
        "a plain transformer, the part of an EoMT before its queries",
        make=Eomt,
        source="Kerssies et al., CVPR 2025",
    ),
)
