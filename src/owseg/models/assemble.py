"""Networks from parts: a backbone, a decoder and a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from owseg.errors import OwsegError
from owseg.models.backbones.base import Backbone, build
from owseg.models.classifiers import Classifier, LinearClassifier, MaskClassifier, PrototypeClassifier
from owseg.models.decoders import DECODERS
from owseg.models.decoders.base import Decoder
from owseg.models.decoders.mean import MeanDecoder
from owseg.models.network import Network

LINEAR_EMBEDDING = 128
"""Width of the embedding in front of a linear classifier; in front of a prototype classifier it is K."""


def assemble(
    backbone: Backbone,
    num_classes: int,
    decoder: str = "pyramid",
    width: int = 128,
    classifier: str = "prototype",
    scale: float = 3.0,
    size: int | None = None,
    scales: Sequence[float] = (1.0,),
    members: int = 1,
) -> Network:
    """Return a network of a backbone, a decoder (see ``DECODERS``) and a classifier ("prototype" or "linear").

    ``width`` is the decoder's, ``scale`` the length T of the prototypes. ``size`` is the working size, ``scales`` are
    the factors of it at which each image is run (see ``Network``). With ``members`` there are several decoders, whose
    mean is used (see ``MeanDecoder``). Raises ``OwsegError`` for a part of another name and fewer than one member.
    """
    if members < 1:
        raise OwsegError(f"a network has 1 or more members, not {members}.")
    head = make_classifier(classifier, num_classes, scale)
    one = make_decoder(decoder, backbone, head.embedding_channels, width=width)
    others = [make_decoder(backbone=backbone, out=head.embedding_channels, **one.config) for _ in range(members - 1)]
    return Network(backbone, MeanDecoder([one, *others]) if others else one, head, size, scales)


def make_decoder(kind: str, backbone: Backbone, out: int, **config: Any) -> Decoder:
    """Return the decoder ``kind`` (see ``DECODERS``) from the pyramid of ``backbone`` to ``out`` channels."""
    return DECODERS[kind].make(backbone.channels, backbone.strides, out, **config)


def make_classifier(
    kind: str,
    num_classes: int,
    scale: float = 3.0,
    embedding: int = LINEAR_EMBEDDING,
    with_negative: bool | None = None,
) -> Classifier:
    """Return a classifier ("prototype" or "linear"); a linear one reads ``embedding`` channels.

    That of a mask classifier, "masks", comes with its decoder alone: whoever asks for one says ``with_negative``.
    """
    if kind == "masks" and with_negative is not None:
        return MaskClassifier(num_classes, with_negative)
    if kind == "prototype":
        return PrototypeClassifier(num_classes, scale)
    if kind == "linear":
        return LinearClassifier(embedding, num_classes)
    raise OwsegError(f"there is no classifier {kind!r}; it is prototype or linear.")


def build_network(config: dict[str, Any]) -> Network:
    """Return a network with random weights from ``Network.config``."""
    backbone = build(config["backbone"])
    head = make_classifier(num_classes=config["classes"], **config["classifier"])
    decoder = make_decoder(backbone=backbone, out=head.embedding_channels, **config["decoder"])
    beside = config.get("negative")
    negative = None if beside is None else make_decoder(backbone=backbone, out=1, **beside)
    squares = config.get("squares", False)
    return Network(backbone, decoder, head, config.get("size"), config.get("scales", (1.0,)), negative, squares)
