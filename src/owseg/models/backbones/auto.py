"""Every other backbone of transformers that has an ``AutoBackbone``: ResNet, ConvNeXt, Swin, DINOv2 and more."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from owseg._registry import Card
from owseg.models.backbones.base import IMAGENET, TransformersFamily


class Auto(TransformersFamily):
    """Whatever has an ``AutoBackbone``; where there are more than five stages, four evenly spread ones are taken."""

    mean, std = IMAGENET

    def pretrained(self, name: str, config: Any, output_stride: int) -> nn.Module:
        """Return the model with its weights; its strides are fixed."""
        from transformers import AutoBackbone

        model: nn.Module = AutoBackbone.from_pretrained(name, out_features=_stages(config), use_safetensors=True)
        return model

    def empty(self, config: dict[str, Any]) -> nn.Module:
        """Return a model with random weights."""
        from transformers import AutoBackbone, AutoConfig

        values = dict(config)
        if values.get("out_features"):
            values.pop("out_indices", None)  # the same thing said twice; transformers refuses both
        model: nn.Module = AutoBackbone.from_config(AutoConfig.for_model(values.pop("model_type"), **values))
        return model

    def features(self, model: nn.Module, image: Tensor) -> tuple[Tensor, ...]:
        """Return the feature maps that the model gives."""
        return tuple(model(image).feature_maps)

    def stem(self, model: nn.Module) -> list[nn.Module]:
        """Return the embedding layers."""
        return [getattr(model, name) for name in ("embedder", "embeddings") if hasattr(model, name)]


def _stages(config: Any) -> list[str]:
    names = [n for n in config.stage_names if n != "stem"]
    return names if len(names) <= 5 else [names[round(len(names) * q) - 1] for q in (0.25, 0.5, 0.75, 1.0)]


CARDS = (Card("auto", "any backbone of transformers that has an AutoBackbone", make=Auto, source="huggingface.co"),)
