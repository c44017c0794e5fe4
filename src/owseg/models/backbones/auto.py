"""Every other backbone of transformers that has an ``AutoBackbone``: ResNet, Swin, ConvNeXt and more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from owseg._registry import Card
from owseg.models.backbones.configs import stored_config
from owseg.models.backbones.family import IMAGENET, TransformersFamily, to_strides
from owseg.models.ops import resize_to_multiple, size_of

MOST_STAGES = 5
"""A plain vision transformer has a stage a block; of more stages than this, four evenly spaced ones are taken."""

HALVING = ("convnext", "convnextv2", "dinov3_convnext", "swin", "swinv2")
"""Types whose stages halve a grid of patches: on other sizes than multiples they drop rows, or fill up with zeros."""

NEW_LAYERS = ("hidden_states_norms.",)
"""What an ``AutoBackbone`` has and published weights do not: norms of the stages, which begin as mean 0, variance 1."""


class Auto(TransformersFamily):
    """Whatever has an ``AutoBackbone``; its strides are fixed.

    Types in ``HALVING`` see the image resized to the nearest multiple of their largest stride, so that every map covers
    exactly the image; the maps are then resized to ceil(H / stride) x ceil(W / stride). At multiples (of 32, for all
    published weights) nothing is resized, and the maps are those of transformers. The multiple is in the configuration
    (``size_multiple``), since knowledge bases of 0.1.0 and segmenters of others have none and go on as they were.
    """

    mean, std = IMAGENET

    def from_pretrained(self, name: str, config: Any, output_stride: int) -> nn.Module:
        """Return the model with its weights; raise ``ValueError`` for a model that is not a backbone."""
        return load(name, self.prepare(config))

    def prepare(self, config: Any) -> Any:
        """Return ``config``, changed in place, with the stages of the pyramid."""
        # Without the names the next line would end in an AttributeError, which says less.
        names = [n for n in getattr(config, "stage_names", None) or [] if n != "stem"]
        if names:
            config.out_features = names if len(names) <= MOST_STAGES else quarters(names)
        if config.model_type in HALVING:
            config.size_multiple = getattr(config, "patch_size", 4) * 2 ** (len(names) - 1)
        return config

    def from_config(self, config: dict[str, Any]) -> nn.Module:
        """Return a model with random weights."""
        return build(configuration(config))

    def features(self, model: Any, image: Tensor) -> tuple[Tensor, ...]:
        """Return the feature maps of the model."""
        multiple = getattr(model.config, "size_multiple", None)
        if multiple is None:
            return tuple(model(image).feature_maps)
        fitted = resize_to_multiple(image, multiple)
        maps = model(fitted).feature_maps
        strides = [fitted.shape[-1] // m.shape[-1] for m in maps]
        return to_strides(maps, strides, size_of(image))

    def stem(self, model: Any) -> list[nn.Module]:
        """Return the embedding layers and the first stage, but not the layer behind it that halves its map."""
        body = model.base_model  # Swin and others keep their layers one level down
        # ResNet calls it embedder, ConvNeXt and Swin embeddings; that of PVTv2 and DINOv3's ConvNeXt is in the stage.
        first = [getattr(body, name) for name in ("embedder", "embeddings") if hasattr(body, name)]
        return first + _first_stage(getattr(body, "encoder", body))


def load(name: str, config: Any) -> nn.Module:
    """Return the backbone of ``config`` with the weights of ``name``, a hub name or a local path.

    Raises ``ValueError`` for a model that is not a backbone, and where weights are missing.
    """
    from transformers import MODEL_FOR_BACKBONE_MAPPING

    # AutoBackbone.from_pretrained asks the hub whether the name is there, and so fails offline and for a path.
    if type(config) not in MODEL_FOR_BACKBONE_MAPPING:
        raise ValueError(f"a {config.model_type} is not a backbone")
    made: Any = MODEL_FOR_BACKBONE_MAPPING[type(config)]
    model: nn.Module
    # In 32 bits, as every decoder is: by itself transformers keeps the precision of the file.
    model, report = made.from_pretrained(
        name, config=config, use_safetensors=True, dtype=torch.float32, output_loading_info=True
    )
    # transformers makes up what is missing, and only logs it.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(NEW_LAYERS))
    if missing:
        raise ValueError(f"{len(missing)} of its tensors are missing, such as {missing[0]}")
    return model


def configuration(config: dict[str, Any]) -> Any:
    """Return the configuration of transformers of what ``config_of`` returned."""
    values = dict(config)
    if values.get("out_features"):
        values.pop("out_indices", None)  # the same information; transformers refuses both
    return stored_config(values)


def build(config: Any) -> nn.Module:
    """Return a backbone of transformers of a configuration, with random weights."""
    from transformers import AutoBackbone

    made: Any = AutoBackbone.from_config
    model: nn.Module = made(config)
    return model


def quarters(names: Sequence[str]) -> list[str]:
    """Return the names at a quarter, a half, three quarters and the end: of 12 the 3rd, 6th, 9th and 12th."""
    return [names[round(len(names) * part) - 1] for part in (0.25, 0.5, 0.75, 1.0)]


def _first_stage(encoder: Any) -> list[nn.Module]:
    for name in ("stages", "layers"):
        if isinstance(getattr(encoder, name, None), nn.ModuleList):
            # Swin's ``downsample`` makes the second stage's input of the first stage's map.
            return [part for key, part in getattr(encoder, name)[0].named_children() if key != "downsample"]
    return []


CARDS = (
    Card("auto", "any backbone of transformers that has an AutoBackbone", make=Auto, source="huggingface.co"),
    Card(
        "convnext",
        "ConvNeXt, a convolutional network in the manner of a transformer",
        make=Auto,
        source="Liu et al., CVPR 2022",
        facts={
            "example": "facebook/convnext-tiny-224",
            "preprocessing": "mean and deviation of ImageNet",
            "licence": "MIT",
            "sizes": (224, 384),
        },
    ),
    Card(
        "convnextv2",
        "ConvNeXt V2, trained as a masked autoencoder first",
        make=Auto,
        source="Woo et al., CVPR 2023",
        facts={
            "example": "facebook/convnextv2-tiny-22k-224",
            "preprocessing": "mean and deviation of ImageNet",
            "licence": "CC-BY-NC (weights), MIT (code)",
            "sizes": (224, 384, 512),
        },
    ),
    Card(
        "dinov3_convnext",
        "ConvNeXt that was distilled from DINOv3, without labels",
        make=Auto,
        source="Siméoni et al., 2025",
        facts={
            "example": "facebook/dinov3-convnext-tiny-pretrain-lvd1689m",
            "preprocessing": "mean and deviation of ImageNet",
            "licence": "DINOv3 License (to be accepted on the hub)",
            "sizes": (256, 512),
        },
    ),
    Card(
        "swin",
        "Swin, a transformer with attention in shifted windows",
        make=Auto,
        source="Liu et al., ICCV 2021",
        facts={
            "example": "microsoft/swin-tiny-patch4-window7-224",
            "preprocessing": "mean and deviation of ImageNet",
            "licence": "MIT",
            "sizes": (224, 384),
        },
    ),
    Card(
        "swinv2",
        "Swin V2, whose attention is made for larger images than it was trained on",
        make=Auto,
        source="Liu et al., CVPR 2022",
        facts={
            "example": "microsoft/swinv2-tiny-patch4-window8-256",
            "preprocessing": "mean and deviation of ImageNet",
            "licence": "MIT",
            "sizes": (256, 384),
        },
    ),
)
