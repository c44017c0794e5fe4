"""EfficientNet-Lite as a family of backbones: six stages, two each at strides 16 and 32."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from owseg._registry import Card
from owseg.models.published.efficientnet_lite import VARIANTS, EfficientNetLite, load


class EfficientNetLiteFamily:
    """The family ``efficientnet_lite``: the last map of each width is a stage; its strides are fixed."""

    # (255 x - 127) / 128, as TensorFlow's release has it.
    mean = (127 / 255, 127 / 255, 127 / 255)
    std = (128 / 255, 128 / 255, 128 / 255)

    def from_pretrained(self, name: str, config: Any, output_stride: int) -> nn.Module:
        """Return the published network ``name``, such as ``efficientnet-lite0``, or the path of its weights."""
        return load(name)

    def from_config(self, config: dict[str, Any]) -> nn.Module:
        """Return a network of ``config["width"]`` and ``config["depth"]`` with random weights and no head."""
        return EfficientNetLite(config["width"], config["depth"], classes=0)

    def trim(self, model: Any) -> None:
        """Remove the head: 1280 channels and a classifier, for classification alone."""
        model.head = nn.Identity()

    def config_of(self, model: Any) -> dict[str, Any]:
        """Return the ``model_type``, the width and the depth."""
        return {"model_type": model.kind, "width": model.width, "depth": model.depth}

    def published_name(self, model: Any) -> str | None:
        """Return the variant of this width and depth."""
        sizes = {(variant.width, variant.depth): name for name, variant in VARIANTS.items()}
        return sizes.get((model.width, model.depth))

    def features(self, model: Any, image: Tensor) -> tuple[Tensor, ...]:
        """Return the six stages, at strides 4, 8, 16, 16, 32 and 32: 768 channels together for Lite0."""
        maps: tuple[Tensor, ...] = model.features(image)
        return maps

    def stem(self, model: Any) -> list[nn.Module]:
        """Return the first convolution and the blocks down to the end of the first stage."""
        return [model.stem, *model.blocks[: model.ends[0] + 1]]


CARDS = (
    Card(
        "efficientnet_lite",
        "EfficientNet-Lite0 to Lite2, general features of 3 to 4 million parameters for CPUs",
        make=EfficientNetLiteFamily,
        source="Tan & Le, ICML 2019; TensorFlow, 2020",
        facts={
            "prefix": "efficientnet-lite",
            "example": "efficientnet-lite0",
            "preprocessing": "(255 x - 127) / 128",
            "licence": "Apache-2.0",
            "sizes": (224, 240, 260),
        },
    ),
)
