"""Backbones from transformers, seen as one thing: a picture goes in, a pyramid of feature maps comes out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from owseg.errors import OwsegError
from owseg.models.espnetv2 import ESPNetV2Encoder

# Seen from outside, a backbone differs only in where its stages end: for MobileNetV2, the last inverted-residual
# block (0-based) at each resolution or width.
_MOBILENET_V2_STAGES = (1, 4, 8, 11, 15)


class Backbone(nn.Module):
    """``image (B, 3, H, W) -> tuple of (B, C_i, h_i, w_i)``, finest first; wraps a transformers model.

    ``model`` is a MobileNetV2, a SegFormer, one that has an ``AutoBackbone`` (ResNet, ConvNeXt, DINOv2 and more), or
    this project's ``ESPNetV2Encoder``.
    ``channels`` and ``strides`` describe the stages. Input is RGB normalised by ``mean`` and ``std``.
    """

    model: Any  # a transformers model; each kind has its own attributes
    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        if self.kind == "mobilenet_v2":
            model.conv_1x1 = nn.Identity()  # the classification layer after the last stage: not used, not paid for
        was_training = self.training
        self.eval()
        with torch.no_grad():
            maps = self(torch.zeros(1, 3, 224, 224))
        self.train(was_training)
        self.channels = tuple(m.shape[1] for m in maps)
        self.strides = tuple(round(224 / m.shape[-1]) for m in maps)
        self.stem_is_frozen = False

    @property
    def kind(self) -> str:
        """The model type as transformers names it."""
        return str(self.model.config.model_type)

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the same architecture without its weights (see ``build``)."""
        config = self.model.config.to_dict()
        config.pop("_name_or_path", None)  # where it lay on the machine that trained it is nobody's business
        return {"config": config, "mean": self.mean.flatten().tolist(), "std": self.std.flatten().tolist()}

    def freeze_stem(self) -> None:
        """Stop learning in the layers before the first stage's end: the dearest to train and the most general."""
        self.stem_is_frozen = True
        for module in self._stem():
            module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        """Switch between training and evaluation; a frozen stem keeps its batch statistics in both."""
        super().train(mode)
        if getattr(self, "stem_is_frozen", False):
            for module in self._stem():
                module.eval()
        return self

    def _stem(self) -> list[nn.Module]:
        if self.kind == "mobilenet_v2":
            return [self.model.conv_stem, *self.model.layer[: _MOBILENET_V2_STAGES[0] + 1]]
        names = ("embedder", "embeddings")
        return [getattr(self.model, name) for name in names if hasattr(self.model, name)]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the pyramid of ``image`` (B, 3, H, W), RGB in [0, 1]."""
        x = (image - self.mean) / self.std
        if self.kind == "mobilenet_v2":
            states = self.model(x, output_hidden_states=True).hidden_states
            return tuple(states[i] for i in _MOBILENET_V2_STAGES)
        if self.kind == "segformer":
            return tuple(self.model(x, output_hidden_states=True).hidden_states)
        return tuple(self.model(x).feature_maps)


def build(config: dict[str, Any]) -> Backbone:
    """Build a backbone with random weights from what ``Backbone.config`` returned."""
    from transformers import AutoConfig

    values = dict(config["config"])
    if values["model_type"] == ESPNetV2Encoder.kind:
        return Backbone(ESPNetV2Encoder(values["scale"]), tuple(config["mean"]), tuple(config["std"]))
    if values.get("out_features"):
        values.pop("out_indices", None)  # the same thing said twice; transformers refuses both
    hf_config = AutoConfig.for_model(values.pop("model_type"), **values)
    return Backbone(_instantiate(hf_config), tuple(config["mean"]), tuple(config["std"]))


def from_pretrained(name: str, output_stride: int = 16) -> Backbone:
    """Load a backbone by hub name or local path; ``output_stride`` (MobileNetV2 only) is 8, 16 or 32.

    Raises ``OwsegError`` where the name is neither on disk nor to be had from the hub, or is no backbone.
    """
    from transformers import AutoBackbone, AutoConfig, AutoModel

    is_path = os.sep in name and Path(name).exists()
    try:
        config = AutoConfig.from_pretrained(name, use_safetensors=True)
        if config.model_type == "mobilenet_v2":
            config.output_stride = output_stride
            model = AutoModel.from_pretrained(name, config=config, use_safetensors=True)
        elif config.model_type == "segformer":
            model = AutoModel.from_pretrained(name, config=config, use_safetensors=True)
        else:
            model = AutoBackbone.from_pretrained(name, out_features=_stages(config), use_safetensors=True)
    except (OSError, ValueError, AttributeError, ImportError, SafetensorError) as error:
        hint = "the folder needs config.json and model.safetensors" if is_path else "give a local path when offline"
        raise OwsegError(f"the backbone {name!r} cannot be loaded ({_first_line(error)}); {hint}.") from None
    mean, std = normalisation(config.model_type)
    return Backbone(model, mean, std)


def _instantiate(config: Any) -> nn.Module:
    from transformers import AutoBackbone, AutoModel

    if config.model_type in ("mobilenet_v2", "segformer"):
        return AutoModel.from_config(config)
    return AutoBackbone.from_config(config)


def _stages(config: Any) -> list[str]:
    names = [n for n in config.stage_names if n != "stem"]
    return names if len(names) <= 5 else [names[round(len(names) * q) - 1] for q in (0.25, 0.5, 0.75, 1.0)]


def normalisation(kind: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of the RGB input that a kind of model was trained with."""
    if kind == "mobilenet_v2":
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
