"""A backbone of any family: RGB image in [0, 1] -> pyramid of its stages."""

from __future__ import annotations

import json
import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from owseg.errors import OwsegError
from owseg.models.backbones import FAMILIES, example_names
from owseg.models.backbones.family import Family
from owseg.models.backbones.preprocessing import stored_normalisation

_SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
"""Channels and strides of the architectures that were made, by their configuration."""


def family_of(model_type: str) -> Family:
    """Return the family of a ``model_type`` of transformers."""
    return FAMILIES[model_type if model_type in FAMILIES else "auto"].make()


class Backbone(nn.Module):
    """``image (B, 3, H, W) -> tuple of (B, C_i, h_i, w_i)``, finest first; wraps a model of some family.

    ``kind`` is the ``model_type`` of the model, ``channels`` and ``strides`` describe the stages. The input is RGB in
    [0, 1]; it is normalised here by ``mean`` and ``std``, by default those of the family.
    """

    model: Any  # each family has its own attributes
    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None) -> None:
        super().__init__()
        self.model = model
        self.kind = str(getattr(model, "kind", None) or model.config.model_type)
        self.family = family_of(self.kind)
        self.family.trim(model)
        # Not persistent: they are in the configuration, and so in no file of weights. They have values on meta, too.
        for name, values in (("mean", mean or self.family.mean), ("std", std or self.family.std)):
            self.register_buffer(name, torch.tensor(values, device="cpu").view(1, 3, 1, 1), persistent=False)
        shapes: tuple[tuple[int, ...], tuple[int, ...]] = getattr(model, "shapes", None) or self._passed()
        self.channels, self.strides = shapes
        self.is_frozen = self.stem_is_frozen = False

    def _passed(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return what ``_shapes`` returned for this architecture: a pass takes longer than making a network again."""
        key = json.dumps(self.family.config_of(self.model), sort_keys=True, default=str)
        if key not in _SHAPES:
            _SHAPES[key] = self._shapes()
        return _SHAPES[key]

    @torch.no_grad()
    def _shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return channels and strides of a real pass, since few families state them."""
        # In evaluation mode, or the zeros would enter the running batch statistics.
        was_training = self.training
        self.eval()
        # 224 is a multiple of 32 and of the patch size 14 of DINOv2.
        maps = self.family.features(self.model, torch.zeros(1, 3, 224, 224))
        self.train(was_training)
        return tuple(m.shape[1] for m in maps), tuple(round(224 / m.shape[-1]) for m in maps)

    @property
    def config(self) -> dict[str, Any]:
        """The argument of ``build``, which makes the same architecture with random weights; plain JSON."""
        return {
            "config": self.family.config_of(self.model),
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
        }

    def freeze(self) -> None:
        """Stop training all layers."""
        self.is_frozen = True
        self._freeze()

    def freeze_stem(self) -> None:
        """Stop training the layers up to the end of the first stage: the most general and the most expensive ones."""
        self.stem_is_frozen = True
        self._freeze()

    def _freeze(self) -> None:
        for module in self._frozen_modules():
            module.requires_grad_(False)
        # Also sets their batch norm to evaluation: frozen weights with drifting statistics are not frozen.
        self.train(self.training)

    def _frozen_modules(self) -> list[nn.Module]:
        if self.is_frozen:
            return [self.model]
        return self.family.stem(self.model) if self.stem_is_frozen else []

    def train(self, mode: bool = True) -> Backbone:
        """Switch between training and evaluation; what is frozen keeps its batch statistics in both."""
        super().train(mode)
        # hasattr, because __init__ calls this through eval() before there is the attribute.
        for module in self._frozen_modules() if hasattr(self, "is_frozen") else []:
            module.eval()
        return self

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the pyramid of ``image`` (B, 3, H, W), RGB in [0, 1]."""
        return self.family.features(self.model, (image - self.mean) / self.std)


def build(config: dict[str, Any]) -> Backbone:
    """Build a backbone with random weights from what ``Backbone.config`` returned."""
    values = dict(config["config"])
    model = family_of(values["model_type"]).from_config(values)
    return Backbone(model, tuple(config["mean"]), tuple(config["std"]))


def from_pretrained(name: str, output_stride: int = 16) -> Backbone:
    """Load a backbone by hub name or local path; ``output_stride`` (MobileNetV2 only) is 8, 16 or 32.

    A family that is not of transformers has names and files of its own, such as ``efficientnet-lite0``. The input is
    normalised as preprocessor_config.json beside the weights says, or else as the family does. Raises ``OwsegError``
    where it is neither on disk nor on the hub, or is not a backbone.
    """
    own = _family_by_prefix(name)
    if own:
        return Backbone(own.from_pretrained(name, None, output_stride))
    if "/" not in name and not Path(name).exists():  # the hub has no such names, and would be asked in vain
        raise OwsegError(f"there is no backbone {name!r}; {_meant(name)}")
    from transformers import AutoConfig

    is_path = os.sep in name and Path(name).exists()
    try:
        config = AutoConfig.from_pretrained(name, use_safetensors=True)
        model = family_of(config.model_type).from_pretrained(name, config, output_stride)
        return Backbone(model, *(stored_normalisation(name) or (None, None)))
    except (OSError, ValueError, AttributeError, ImportError, SafetensorError) as error:
        hint = "the folder needs config.json and model.safetensors" if is_path else "give a local path when offline"
        raise OwsegError(f"the backbone {name!r} cannot be loaded ({_first_line(error)}); {hint}.") from None


def _family_by_prefix(name: str) -> Family | None:
    """Return the family whose prefix begins ``name``, or the name of the file, or of one in the folder, at that path.

    A folder that transformers stored, which has a config.json, is none of them.
    """
    path = Path(name).expanduser()
    if (path / "config.json").exists():
        return None
    names = [name, *(file.name for file in ([path] if path.is_file() else path.glob("*")))]
    for kind, entry in FAMILIES.entries.items():
        prefix = entry.facts.get("prefix")
        if prefix and any(n.startswith(prefix) for n in names):
            return FAMILIES.make(kind)
    return None


def _meant(name: str) -> str:
    """Return the example of a family that is close to ``name``, or all."""
    # By what a model is called there, as in dinov2-small for facebook/dinov2-small.
    short = {example.rpartition("/")[2].partition(":")[0]: example for example in example_names()}
    if close := get_close_matches(name, short, 1):
        return f"did you mean {short[close[0]]}?"
    return f"it is a name of the hub, OWNER/NAME, a folder, or one of {', '.join(example_names())}."


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
