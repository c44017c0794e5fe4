"""MobileNetV2 (Sandler et al., CVPR 2018), as transformers has it: five stages at strides 4 to 8, 16 or 32."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from owseg._registry import Card
from owseg.models.backbones.family import TransformersFamily
from owseg.models.ops import SameConv2d

STAGES = (1, 4, 8, 11, 15)
"""The last inverted-residual block, from 0, at each resolution or width."""


class MobileNetV2(TransformersFamily):
    """The family ``mobilenet_v2``; its output stride can be 8, 16 or 32."""

    # Google's weights expect an input in [-1, 1].
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    def from_pretrained(self, name: str, config: Any, output_stride: int) -> nn.Module:
        """Return the model with its weights, at ``output_stride``."""
        config.output_stride = output_stride
        return super().from_pretrained(name, config, output_stride)

    def trim(self, model: Any) -> None:
        """Remove the convolution after the last stage."""
        # It widens to 1280 channels for classification alone. Not deleted, as the model's forward calls it.
        model.conv_1x1 = nn.Identity()
        if model.config.tf_padding:
            _pad_without_a_branch(model)

    def features(self, model: nn.Module, image: Tensor) -> tuple[Tensor, ...]:
        """Return the maps at the end of ``STAGES``."""
        states = model(image, output_hidden_states=True).hidden_states
        return tuple(states[i] for i in STAGES)

    def stem(self, model: Any) -> list[nn.Module]:
        """Return the stem and the blocks of the first stage."""
        return [model.conv_stem, *model.layer[: STAGES[0] + 1]]


def _pad_without_a_branch(model: nn.Module) -> None:
    """Give the convolutions of ``model`` the padding that transformers computes for the size of an image.

    It asks for that size, so an exported graph would pad every image as the one that it was traced with.
    """
    layers: list[Any] = [m for m in model.modules() if hasattr(m, "convolution")]
    for layer in layers:
        old = layer.convolution
        sizes = old.in_channels, old.out_channels, old.kernel_size, old.stride
        options = {"dilation": old.dilation, "groups": old.groups, "bias": old.bias is not None}
        new = SameConv2d(*sizes, **options, device="meta")  # without weights: it takes those of the old
        new.load_state_dict(old.state_dict(), assign=True)
        layer.convolution, layer.config = new.train(old.training), copy.copy(layer.config)
        layer.config.tf_padding = False


CARDS = (
    Card(
        "mobilenet_v2",
        "light and fast on a CPU; the backbone of the networks of owseg 0.1.0",
        make=MobileNetV2,
        source="Sandler et al., CVPR 2018",
        facts={
            "example": "google/mobilenet_v2_1.0_224",
            "preprocessing": "2 x - 1",
            "licence": "Apache-2.0",
            "sizes": (224,),
        },
    ),
)
