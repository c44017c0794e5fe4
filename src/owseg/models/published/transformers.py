"""Ready-made segmenters of transformers, cut at the three seams."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.labels import LabelSpace
from owseg.models.backbones.base import Backbone, family_of
from owseg.models.classifiers import LinearClassifier
from owseg.models.decoders.base import Decoder
from owseg.models.network import Network


class Seams(NamedTuple):
    """Where a model is cut: its body, and the head that reads the body's maps (``coarsest``: only the last of them).

    The head ends with a 1x1 convolution called ``classifier``.
    """

    body: str
    head: str
    coarsest: bool = False


SEAMS = {
    "segformer": Seams("segformer", "decode_head"),
    "upernet": Seams("backbone", "decode_head"),
    "mobilenet_v2": Seams("mobilenet_v2", "segmentation_head", True),
}
"""The kinds of model that can be taken apart, by the name that transformers gives them."""


class HeadDecoder(Decoder):
    """Pyramid -> (B, D, h, w): the head of a transformers segmenter without its last convolution."""

    kind = "transformers"

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model_config, seams = model.config, seams_of(model.config)
        self.head, self.coarsest = model.get_submodule(seams.head), seams.coarsest
        self.head.classifier = nn.Identity()

    @property
    def config(self) -> dict[str, Any]:
        """What ``make_decoder`` needs: the configuration of the whole model; plain JSON."""
        return {"kind": self.kind, "config": plain(self.model_config)}

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return the embedding at the head's own resolution."""
        return self.head(features[-1] if self.coarsest else list(features))


def seams_of(config: Any) -> Seams:
    """Return where a model of this configuration is cut; raise ``OwsegError`` for one that has no such seams."""
    if config.model_type not in SEAMS:
        raise OwsegError(
            f"a {config.model_type} has no seams that are known; a network is taken from {', '.join(SEAMS)}."
        )
    return SEAMS[config.model_type]


def last_convolution(model: Any) -> nn.Conv2d:
    """Return the convolution that turns a segmenter's embedding into logits; raise ``OwsegError`` if it is none."""
    seams = seams_of(model.config)
    layer = model.get_submodule(f"{seams.head}.classifier")
    conv = getattr(layer, "convolution", layer)  # MobileNetV2 wraps it
    if not isinstance(conv, nn.Conv2d) or conv.kernel_size != (1, 1):
        raise OwsegError(f"the last layer of this {model.config.model_type} is no 1x1 convolution.")
    return conv


def plain(config: Any) -> dict[str, Any]:
    """Return a transformers configuration as plain JSON that does not say where it lay."""
    value = dict(config.to_dict())
    value.pop("_name_or_path", None)
    return value


def empty(config: dict[str, Any]) -> Any:
    """Return a segmenter with random weights from what ``plain`` returned."""
    from transformers import AutoConfig, AutoModelForSemanticSegmentation

    values = dict(config)
    made = AutoConfig.for_model(values.pop("model_type"), **values)
    return AutoModelForSemanticSegmentation.from_config(made)


def fetch(name: str) -> Any:
    """Load a segmenter by hub name or local path; raise ``OwsegError`` where there is none, or none with seams."""
    from transformers import AutoConfig, AutoModelForSemanticSegmentation

    try:
        seams_of(AutoConfig.from_pretrained(name))
        return AutoModelForSemanticSegmentation.from_pretrained(name, use_safetensors=True)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise OwsegError(f"the segmenter {name!r} cannot be loaded ({reason}); give a hub name or a path.") from None


def take_apart(model: Any) -> Network:
    """Cut a transformers segmenter (see ``owseg.models.segmenters``) at the three seams; it computes what it did."""
    seams, last = seams_of(model.config), last_convolution(model)
    classifier = LinearClassifier(last.in_channels, last.out_channels)
    classifier.conv = last
    decoder, body = HeadDecoder(model), model.get_submodule(seams.body)
    family = family_of(model.config.model_type)
    backbone = Backbone(body, family.mean, family.std)
    return Network(backbone, decoder, classifier)


def _load(place: str, weights: str | Path | None = None) -> tuple[Network, LabelSpace]:
    model = fetch(place)
    names: dict[int, str] = model.config.id2label
    return take_apart(model).eval(), LabelSpace.of(names[i] for i in range(len(names)))


CARDS = (
    Card(
        "hf",
        "any SegFormer, UperNet or MobileNetV2-DeepLab of transformers, by hub name or local path",
        make=_load,
        source="huggingface.co",
        facts={"form": "hf:NAME"},
    ),
)
