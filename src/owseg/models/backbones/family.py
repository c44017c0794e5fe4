"""What a family of backbones is, and what those of transformers have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from owseg.models.backbones.configs import config_of, stored_config
from owseg.models.ops import resize

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of RGB in [0, 1] with which most ImageNet networks normalise their input."""


class Family(Protocol):
    """How models of one family are made and run; ``mean`` and ``std`` normalise their input."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def from_pretrained(self, name: str, config: Any, output_stride: int) -> nn.Module:
        """Return the model ``name``, a hub name or a local path, with its weights."""
        ...

    def from_config(self, config: dict[str, Any]) -> nn.Module:
        """Return a model with random weights from what ``config_of`` returned."""
        ...

    def trim(self, model: nn.Module) -> None:
        """Remove, in place, the layers of ``model`` that the pyramid does not need."""
        ...

    def config_of(self, model: nn.Module) -> dict[str, Any]:
        """Return what ``from_config`` needs to make the same architecture, as plain JSON with a ``model_type``."""
        ...

    def published_name(self, model: nn.Module) -> str | None:
        """Return the name of the package's weights for this architecture, such as efficientnet-lite0; None without."""
        ...

    def features(self, model: nn.Module, image: Tensor) -> tuple[Tensor, ...]:
        """Return the feature maps (B, C_i, h_i, w_i) of a normalised image (B, 3, H, W), finest first."""
        ...

    def stem(self, model: nn.Module) -> list[nn.Module]:
        """Return the layers before the end of the first stage."""
        ...


class TransformersFamily:
    """What families of transformers have in common; by default a model is an ``AutoModel``."""

    def from_pretrained(self, name: str, config: Any, output_stride: int) -> nn.Module:
        """Return the model with its weights; its strides are those of ``config``."""
        from transformers import AutoModel

        # Safetensors only: weights in a pickle can run code when they are loaded. In 32 bits, as every decoder is:
        # by itself transformers keeps the precision of the file.
        model: nn.Module = AutoModel.from_pretrained(name, config=config, use_safetensors=True, dtype=torch.float32)
        return model

    def from_config(self, config: dict[str, Any]) -> nn.Module:
        """Return a model with random weights."""
        from transformers import AutoModel

        build: Any = AutoModel.from_config
        model: nn.Module = build(stored_config(config))
        return model

    def trim(self, model: nn.Module) -> None:
        """Remove nothing."""

    def published_name(self, model: nn.Module) -> str | None:
        """Return None: the weights of transformers are in no package."""
        return None

    def config_of(self, model: Any) -> dict[str, Any]:
        """Return the model's configuration (see ``owseg.models.backbones.configs``)."""
        return config_of(model.config)


def to_strides(maps: Sequence[Tensor], strides: Sequence[int], size: tuple[int, int]) -> tuple[Tensor, ...]:
    """Return each map, which covers an image of ``size`` (H, W), resized to (B, C, ceil(H/stride), ceil(W/stride))."""
    height, width = size
    sizes = [(math.ceil(height / stride), math.ceil(width / stride)) for stride in strides]
    return tuple(resize(m, grid) for m, grid in zip(maps, sizes, strict=True))
