"""ESPNetv2's encoder as a family of backbones."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.models.backbones.family import IMAGENET
from owseg.models.published.espnetv2 import ESPNetV2Encoder


class ESPNetV2:
    """The family ``espnetv2``; its weights are loaded with a whole network (see ``owseg.models.hub``)."""

    mean, std = IMAGENET

    def from_pretrained(self, name: str, config: Any, output_stride: int) -> nn.Module:
        """Raise ``OwsegError``: transformers has no such model."""
        raise OwsegError("an ESPNetv2 is loaded as a whole network: espnetv2-cityscapes:FILE.")

    def from_config(self, config: dict[str, Any]) -> nn.Module:
        """Return an encoder of ``config["scale"]`` with random weights."""
        return ESPNetV2Encoder(config["scale"])

    def trim(self, model: nn.Module) -> None:
        """Remove nothing."""

    def published_name(self, model: nn.Module) -> str | None:
        """Return None: its weights are in no package."""
        return None

    def config_of(self, model: Any) -> dict[str, Any]:
        """Return the ``model_type`` and the scale."""
        return {"model_type": model.kind, "scale": model.scale}

    def features(self, model: nn.Module, image: Tensor) -> tuple[Tensor, ...]:
        """Return the four stages, at strides 2 to 16."""
        maps: tuple[Tensor, ...] = model(image)
        return maps

    def stem(self, model: nn.Module) -> list[nn.Module]:
        """Return nothing: only published weights are used, which are not trained further."""
        return []


CARDS = (
    Card(
        "espnetv2",
        "less than a million parameters, for cameras and CPUs",
        make=ESPNetV2,
        source="Mehta et al., CVPR 2019",
    ),
)
