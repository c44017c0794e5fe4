"""Every other backbone of transformers that has an ``AutoBackbone``: ResNet, ConvNeXt, Swin, DINOv2 and more."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from owseg._registry import Card
from owseg.models.backbones.family import IMAGENET, TransformersFamily

MOST_STAGES = 5
"""A plain vision transformer has a stage a block; of more stages than this, four evenly spaced ones are taken."""


class Auto(TransformersFamily):
    """Whatever has an ``AutoBackbone``; its strides are fixed."""

    mean, std = IMAGENET

    def from_pretrained(self, name: str, config: Any, output_stride: int) -> nn.Module:
        """Return the model with its weights; raise ``ValueError`` for a model that is not a backbone."""
        from transformers import MODEL_FOR_BACKBONE_MAPPING

        # AutoBackbone.from_pretrained asks the hub whether the name is there, and so fails offline and for a path.
        if type(config) not in MODEL_FOR_BACKBONE_MAPPING:
            raise ValueError(f"a {config.model_type} is not a backbone")
        config.out_features = _stages(config)
        made: Any = MODEL_FOR_BACKBONE_MAPPING[type(config)]
        model: nn.Module = made.from_pretrained(name, config=config, use_safetensors=True)
        return model

    def from_config(self, config: dict[str, Any]) -> nn.Module:
        """Return a model with random weights."""
        from transformers import AutoBackbone, AutoConfig

        values = dict(config)
        if values.get("out_features"):
            values.pop("out_indices", None)  # the same information; transformers refuses both
        build: Any = AutoBackbone.from_config
        model: nn.Module = build(AutoConfig.for_model(values.pop("model_type"), **values))
        return model

    def features(self, model: nn.Module, image: Tensor) -> tuple[Tensor, ...]:
        """Return the feature maps of the model."""
        return tuple(model(image).feature_maps)

    def stem(self, model: nn.Module) -> list[nn.Module]:
        """Return the embedding layers."""
        # ResNet calls it embedder, ConvNeXt and the vision transformers embeddings.
        return [getattr(model, name) for name in ("embedder", "embeddings") if hasattr(model, name)]


def _stages(config: Any) -> list[str]:
    names = [n for n in config.stage_names if n != "stem"]
    if len(names) <= MOST_STAGES:
        return names
    # Of 12 blocks the 3rd, 6th, 9th and 12th.
    return [names[round(len(names) * part) - 1] for part in (0.25, 0.5, 0.75, 1.0)]


CARDS = (Card("auto", "any backbone of transformers that has an AutoBackbone", make=Auto, source="huggingface.co"),)
