"""SegFormer's encoder (Xie et al., NeurIPS 2021): four stages at strides 4 to 32."""

from __future__ import annotations

from torch import Tensor, nn

from owseg._registry import Card
from owseg.models.backbones.family import IMAGENET, TransformersFamily


class SegFormer(TransformersFamily):
    """The family ``segformer``: the encoder's hidden states are the stages."""

    mean, std = IMAGENET

    def features(self, model: nn.Module, image: Tensor) -> tuple[Tensor, ...]:
        """Return the hidden states of all stages."""
        return tuple(model(image, output_hidden_states=True).hidden_states)

    def stem(self, model: nn.Module) -> list[nn.Module]:
        """Return nothing: the layers of its stages are in lists of all stages."""
        return []


CARDS = (
    Card(
        "segformer",
        "a hierarchical transformer",
        make=SegFormer,
        source="Xie et al., NeurIPS 2021",
        facts={
            "example": "nvidia/mit-b0",
            "preprocessing": "mean and deviation of ImageNet",
            "licence": "NVIDIA Source Code License (not for commercial use)",
            "sizes": (224, 512, 1024),
        },
    ),
)
