"""Settings by name: those of the papers beside those for a CPU. No torch here: the command line reads this file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from owseg._registry import Card, read_options
from owseg.errors import OwsegError
from owseg.training.config import MEMBERS, SCALES, WIDTH, LoopConfig, ResidualConfig, TrainConfig

Config = TypeVar("Config", bound=LoopConfig)
T = TypeVar("T")


@dataclass(frozen=True)
class TrainPreset:
    """The settings of a training, and of the network that is trained (see ``owseg.models.assemble.assemble``)."""

    config: TrainConfig
    decoder: str = "pyramid"
    width: int = WIDTH
    members: int = MEMBERS
    scales: tuple[float, ...] = SCALES


_DMLNET = TrainConfig(
    mode="tuned", optimizer="sgd", schedule="poly", weight_decay=1e-4, jitter=0.0, scale=(1.0, 1.0), small=0.0,
    balance=0.0, ema=0.0, freeze_stem=False,
)  # fmt: skip
"""What both of DMLNet's trainings have in common; an EMA with a decay of 0 is the weights themselves."""

_STREETHAZARDS = replace(
    _DMLNET, epochs=47, batch=8, crop=(600, 1000), short_sides=(300, 375, 450, 525, 600), label_stride=8,
    lr=0.02, backbone_lr=0.02,
)  # fmt: skip
"""30,000 steps of 8 of StreetHazards' 5,125 images; the loss is on a grid of stride 8, that of the embedding."""

_CITYSCAPES = replace(
    _DMLNET, epochs=162, batch=16, crop=(768, 768), jitter=0.5, label_stride=1, lr=0.1, backbone_lr=0.01,
)  # fmt: skip
"""30,000 steps of 16 of Cityscapes' 2,975 images, at the rate that the release's README names."""

TRAIN: Mapping[str, TrainPreset] = {
    "light": TrainPreset(TrainConfig()),
    "dmlnet-streethazards": TrainPreset(_STREETHAZARDS, "pspnet", 512, 1, (1.0,)),
    "dmlnet-streethazards-code": TrainPreset(replace(_STREETHAZARDS, variance_weight=0.08), "pspnet", 512, 1, (1.0,)),
    "dmlnet-cityscapes": TrainPreset(_CITYSCAPES, "deeplabv3plus", 256, 1, (1.0,)),
    "dmlnet-cityscapes-code": TrainPreset(replace(_CITYSCAPES, variance_weight=0.0), "deeplabv3plus", 256, 1, (1.0,)),
}
"""How ``owseg train`` trains, by name: for a CPU, and as Cen et al. (ICCV 2021) do.

Those that end in "-code" have the lambda_VL of the release: on StreetHazards it divides the DCE by the batch size once
more, so that 0.01 acts as 0.08, and on Cityscapes it leaves VL out.
"""

RESIDUAL: Mapping[str, ResidualConfig] = {
    "light": ResidualConfig(),
    "paper": ResidualConfig(
        epochs=40, batch=8, crop=(700, 700), scale=(1.0, 1.0), jitter=0.0, context_scale=(1.0, 1.0),
        context_centred=True, pasted=1, pasted_into="view", factors=(0.25, 0.5, 0.5, 0.75, 0.1, 0.125),
        optimizer="adam", schedule="poly", lr=7.5e-5, final_lr=7.5e-4, weight_decay=1e-4,
        outlier_weight=0.05, contrast_weight=1.0, losses_at="image",
        form="dense", skip=0, width=256, rates=(12, 24, 36), contrast=304, start="kaiming",
    ),
}  # fmt: skip
"""How ``owseg train-residual`` trains, by name: for a CPU, and as Liu et al. (ICCV 2023) do."""


def preset_named(presets: Mapping[str, T], name: str) -> T:
    """Return a preset; raise ``OwsegError`` with the names that there are for another."""
    if name not in presets:
        raise OwsegError(f"there is no preset {name!r}; it is one of {', '.join(presets)}.")
    return presets[name]


def configured(preset: Config, settings: Mapping[str, str] | None = None, **given: Any) -> Config:
    """Return ``preset`` with ``settings``, fields of it as text, and with what is ``given`` and not None.

    Raises ``OwsegError`` for a field that it does not have, one that is both set and given, and a value of another
    type.
    """
    given = {name: value for name, value in given.items() if value is not None}
    card = Card("the training", "", make=type(preset), options={field.name: "" for field in fields(preset)})
    values = read_options(card, settings or {})
    if twice := sorted(values.keys() & given.keys()):
        raise OwsegError(f"{twice[0]} is given twice; give --{twice[0]}, or --set {twice[0]}=VALUE.")
    return replace(preset, **values, **given)
