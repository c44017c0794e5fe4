"""SegFormer's encoder (Xie et al., NeurIPS 2021): four stages at strides 4 to 32."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from owseg._registry import Card
from owseg.models.backbones.base import IMAGENET, TransformersFamily


class SegFormer(TransformersFamily):
    """The family ``segformer``: the encoder's hidden states are the stages."""

    mean, std = IMAGENET

    def pretrained(self, name: str, config: Any, output_stride: int) -> nn.Module:
        """Return the encoder with its weights; its strides are fixed."""
        from transformers import AutoModel

        model: nn.Module = AutoModel.from_pretrained(name, config=config, use_safetensors=True)
        return model

    def empty(self, config: dict[str, Any]) -> nn.Module:
        """Return an encoder with random weights."""
        from transformers import AutoConfig, AutoModel

        values = dict(config)
        model: nn.Module = AutoModel.from_config(AutoConfig.for_model(values.pop("model_type"), **values))
        return model

    def features(self, model: nn.Module, image: Tensor) -> tuple[Tensor, ...]:
        """Return the hidden states of all stages."""
        return tuple(model(image, output_hidden_states=True).hidden_states)

    def stem(self, model: nn.Module) -> list[nn.Module]:
        """Return nothing: its first stage is not apart from the others."""
        return []


CARDS = (Card("segformer", "a hierarchical transformer", make=SegFormer, source="Xie et al., NeurIPS 2021"),)
