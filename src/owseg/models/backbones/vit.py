"""Plain vision transformers as pyramids: DINOv2, DINOv2 with registers, DINOv3."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from owseg._registry import Card
from owseg.models.backbones.auto import Auto, build, configuration, quarters
from owseg.models.backbones.family import to_strides
from owseg.models.ops import resize_to_multiple, size_of

STRIDES = (4, 8, 16, 32)
"""The strides of the maps, those of hierarchical networks: decoders, scores and probes look for 4, 8 and 32."""


class ViT(Auto):
    """A transformer whose blocks all work on one grid of patches; four of its blocks become the pyramid.

    Of n blocks the 1/4 n-th, 1/2 n-th, 3/4 n-th and last (rounded) are taken, each through the final layer norm and
    without the tokens that are no patches (class, registers). Their maps are resized bilinearly to ``STRIDES``, the
    shallowest block to the finest: shallow blocks still tell where an edge lies, deep ones what an object is, so the
    order is that of a convolutional network. Every map has all the model's channels.

    The image is resized to the nearest multiple of the patch size before, so that the grid of patches covers exactly
    the image; position embeddings are interpolated to that grid (DINOv3 has rotary ones, for any grid). Maps are
    ceil(H / stride) x ceil(W / stride) for every image.

    What that costs: the finest map has 16 (patches of 16) to 12 (of 14) times the values of the patch grid and no more
    detail; all four together are 1.33 MB for each channel and megapixel of the image in float32: 0.5 GB for the 384
    channels of ViT-S, 1.4 GB for the 1024 of ViT-L. Where that is too much, run smaller images or 16 bits.

    A configuration that names its stages (``out_features``) and no ``pyramid_strides`` is that of a knowledge base of
    0.1.0: its maps stay on the grid of patches, as its decoder expects.
    """

    def prepare(self, config: Any) -> Any:
        """Return ``config``, changed in place, with the four blocks; raise ``ValueError`` for fewer than four."""
        blocks = [name for name in config.stage_names if name != "stem"]
        if len(blocks) < len(STRIDES):
            raise ValueError(f"a pyramid needs {len(STRIDES)} blocks or more, and this model has {len(blocks)}")
        config.out_features = quarters(blocks)
        config.pyramid_strides = list(STRIDES)
        # A configuration from elsewhere may have turned them off.
        config.apply_layernorm = config.reshape_hidden_states = True
        return config

    def from_config(self, config: dict[str, Any]) -> nn.Module:
        """Return a model with random weights."""
        made = configuration(config)
        return build(made if config.get("out_features") else self.prepare(made))

    def features(self, model: Any, image: Tensor) -> tuple[Tensor, ...]:
        """Return the four maps at ``STRIDES``."""
        strides = getattr(model.config, "pyramid_strides", None)
        if strides is None:
            return super().features(model, image)
        maps = model(resize_to_multiple(image, model.config.patch_size)).feature_maps
        return to_strides(maps, strides, size_of(image))

    def stem(self, model: Any) -> list[nn.Module]:
        """Return the embeddings and the blocks down to that of the first map."""
        # DINOv3's rotary embedding has no weights, but is jittered while it is in training mode.
        parts = [getattr(model, name) for name in ("embeddings", "rope_embeddings") if hasattr(model, name)]
        # DINOv2's blocks are in an encoder, DINOv3's in a model (transformers 5.23) or, before, in the backbone itself.
        body = getattr(model, "encoder", None) or getattr(model, "model", model)
        return [*parts, *body.layer[: model.stage_names.index(model.out_features[0])]]


CARDS = (
    Card(
        "dinov2",
        "DINOv2, general features learned without labels",
        make=ViT,
        source="Oquab et al., TMLR 2024",
        facts={
            "example": "facebook/dinov2-small",
            "preprocessing": "mean and deviation of ImageNet",
            "licence": "Apache-2.0",
            "sizes": (518,),
        },
    ),
    Card(
        "dinov2_with_registers",
        "DINOv2 with registers, whose maps have no outlier patches",
        make=ViT,
        source="Darcet et al., ICLR 2024",
        facts={
            "example": "facebook/dinov2-with-registers-small",
            "preprocessing": "mean and deviation of ImageNet",
            "licence": "Apache-2.0",
            "sizes": (518,),
        },
    ),
    Card(
        "dinov3_vit",
        "DINOv3, general features learned without labels, made for dense maps",
        make=ViT,
        source="Siméoni et al., 2025",
        facts={
            "example": "facebook/dinov3-vits16-pretrain-lvd1689m",
            "preprocessing": "mean and deviation of ImageNet",
            "licence": "DINOv3 License (to be accepted on the hub)",
            "sizes": (512, 768),
        },
    ),
)
