"""Segmenters of transformers, split into backbone, decoder and classifier."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.labels import LabelSpace, short_name
from owseg.models.backbones.base import Backbone, family_of
from owseg.models.backbones.configs import config_of, stored_config
from owseg.models.classifiers import LinearClassifier
from owseg.models.decoders.base import Decoder
from owseg.models.network import Network
from owseg.models.published import mask_classifiers


class Parts(NamedTuple):
    """The names of a model's body and of the head that reads the body's maps (``coarsest``: only the last of them).

    ``last`` are the head's layers between its penultimate features and its last layer, which is a 1x1 convolution with
    the name ``classifier``.
    """

    body: str
    head: str
    last: tuple[str, ...]
    coarsest: bool = False


PARTS = {
    "segformer": Parts("segformer", "decode_head", ("linear_fuse", "batch_norm", "activation", "dropout")),
    "upernet": Parts("backbone", "decode_head", ("fpn_bottleneck",)),
    "mobilenet_v2": Parts("mobilenet_v2", "segmentation_head", ("conv_projection", "dropout"), True),
}
"""The kinds of model that can be split, by the name that transformers gives them (``model_type``)."""


class HeadDecoder(Decoder):
    """Pyramid -> (B, D, h, w): the head of a transformers segmenter without its last convolution."""

    kind = "transformers"

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model_config, parts = model.config, parts_of(model.config)
        self.head, self.coarsest, self.last = model.get_submodule(parts.head), parts.coarsest, parts.last
        # Changes ``model``, so the last convolution has to be read before (see ``to_network``).
        self.head.classifier = nn.Identity()
        # In a tuple, so that it is no part of its own: it has the layers of ``head``.
        self._front = (_without(self.head, self.last),)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of ``make_decoder``: the configuration of the whole model; plain JSON."""
        return {"kind": self.kind, "config": config_of(self.model_config)}

    def penultimate(self, features: Sequence[Tensor]) -> Tensor:
        """Return what the head's last block reads, at the head's own resolution."""
        maps: Tensor = self._front[0](features[-1] if self.coarsest else list(features))
        return maps

    def embed(self, penultimate: Tensor) -> Tensor:
        """Return the embedding at the head's own resolution."""
        for name in self.last:
            penultimate = self.head.get_submodule(name)(penultimate)
        return penultimate


def _without(head: nn.Module, last: Sequence[str]) -> nn.Module:
    """Return a module that shares the layers of ``head`` and ends before ``last``."""
    front = copy.copy(head)
    front.__dict__["_modules"] = {**head._modules, **{name: nn.Identity() for name in last}}
    return front


def model_type_of(name: str) -> str | None:
    """Return the ``model_type`` of a hub name or local path; None where there is no configuration to read."""
    from transformers import AutoConfig

    try:
        return str(AutoConfig.from_pretrained(name).model_type)
    except (OSError, ValueError):
        return None


def parts_of(config: Any) -> Parts:
    """Return the parts of a model of this configuration; raise ``OwsegError`` for one that cannot be split."""
    if config.model_type not in PARTS:
        raise OwsegError(
            f"a {config.model_type} cannot be split into backbone and decoder; give a model of "
            f"{', '.join((*PARTS, *mask_classifiers.HEADS))}."
        )
    return PARTS[config.model_type]


def last_convolution(model: Any) -> nn.Conv2d:
    """Return the convolution that turns a segmenter's embedding into logits; raise ``OwsegError`` if it is none."""
    layer = model.get_submodule(f"{parts_of(model.config).head}.classifier")
    conv = getattr(layer, "convolution", layer)  # MobileNetV2 wraps it
    if not isinstance(conv, nn.Conv2d) or conv.kernel_size != (1, 1):
        raise OwsegError(f"the last layer of this {model.config.model_type} is not a 1x1 convolution.")
    return conv


def from_config(config: dict[str, Any]) -> Any:
    """Return a segmenter with random weights from what ``config_of`` returned."""
    from transformers import AutoModelForSemanticSegmentation

    return AutoModelForSemanticSegmentation.from_config(stored_config(config))  # type: ignore[no-untyped-call]


def from_pretrained(name: str) -> Any:
    """Load a segmenter by hub name or local path; raise ``OwsegError`` where that fails or it cannot be split."""
    from transformers import AutoConfig, AutoModelForSemanticSegmentation

    try:
        # The configuration first: a model that cannot be split is refused before its weights are downloaded.
        parts_of(AutoConfig.from_pretrained(name))
        return AutoModelForSemanticSegmentation.from_pretrained(name, use_safetensors=True)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise OwsegError(f"the segmenter {name!r} cannot be loaded ({reason}); give a hub name or a path.") from None


def to_network(model: Any) -> Network:
    """Split a transformers segmenter into a ``Network``, whose logits are those of the segmenter."""
    parts, last = parts_of(model.config), last_convolution(model)
    classifier = LinearClassifier(last.in_channels, last.out_channels)
    classifier.conv = last
    # Only now, as HeadDecoder removes the last convolution.
    decoder, body = HeadDecoder(model), model.get_submodule(parts.body)
    family = family_of(model.config.model_type)
    return Network(Backbone(body, family.mean, family.std), decoder, classifier)


def _load(place: str, weights: str | Path | None = None) -> tuple[Network, LabelSpace]:
    if model_type_of(place) in mask_classifiers.HEADS:
        return mask_classifiers.load(place)
    model = from_pretrained(place)
    names: dict[int, str] = model.config.id2label
    return to_network(model).eval(), LabelSpace.of(short_name(names[i]) for i in range(len(names)))


CARDS = (
    Card(
        "hf",
        "any SegFormer, UperNet, MobileNetV2-DeepLab, Mask2Former, EoMT or OneFormer of transformers",
        make=_load,
        source="huggingface.co",
        facts={"form": "hf:NAME"},
    ),
)
