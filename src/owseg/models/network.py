"""The network and its three seams: encode, decode, classify."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from owseg.errors import OwsegError
from owseg.models import backbones, segmenters
from owseg.models.classifiers import LinearClassifier, PrototypeClassifier
from owseg.models.decoders import ASPPDecoder, PSPDecoder
from owseg.models.espnetv2 import ESPNetV2Decoder
from owseg.types import Output, resize

Decoder: TypeAlias = ASPPDecoder | PSPDecoder | ESPNetV2Decoder | segmenters.HeadDecoder

LINEAR_EMBEDDING = 128
"""Width of the embedding in front of a linear classifier; in front of a prototype classifier it is K."""


class Network(nn.Module):
    """``classify(decode(encode(image)))``; each seam is public, so that others may add to it or replace it.

    ``encode`` image (B, 3, H, W) in [0, 1] -> pyramid; ``decode`` pyramid -> embedding (B, D, h, w); ``classify``
    embedding -> logits (B, K, h, w).
    """

    def __init__(
        self,
        backbone: backbones.Backbone,
        decoder: Decoder,
        classifier: LinearClassifier | PrototypeClassifier,
    ) -> None:
        super().__init__()
        self.backbone, self.decoder, self.classifier = backbone, decoder, classifier

    def encode(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the backbone's pyramid, finest first."""
        return self.backbone(image)

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Return the embedding (B, D, h, w)."""
        return self.decoder(features)

    def classify(self, embedding: Tensor) -> Tensor:
        """Return the logits (B, K, h, w), at any resolution of the embedding."""
        return self.classifier(embedding.float())

    def forward(self, image: Tensor) -> Output:
        """Return everything one pass leaves behind; ``image`` (B, 3, H, W), RGB in [0, 1]."""
        features = self.encode(image)
        embedding = self.decode(features)
        return Output(features, embedding, self.classify(embedding))

    def full_resolution(self, output: Output, size: tuple[int, int]) -> Output:
        """Return ``output`` with the embedding interpolated to ``size`` and classified there (features unchanged)."""
        embedding = resize(output.embedding, size)
        residual = None if output.residual is None else resize(output.residual, size)
        return Output(output.features, embedding, self.classify(embedding), residual)

    def multi_scale(self, image: Tensor, scales: Sequence[float] = (0.75, 1.0, 1.5)) -> Output:
        """Return the output for ``image``, its embedding averaged over enlarged, reduced and mirrored views of it.

        The pyramid is that of the picture itself. A linear classifier's logits are averaged thereby as well.
        """
        plain, views = self(image), []
        grid, size = tuple(plain.embedding.shape[-2:]), image.shape[-2:]
        for scale in scales:
            view = resize(image, (round(scale * size[0]), round(scale * size[1])))
            straight = plain.embedding if scale == 1 else self.decode(self.encode(view))
            views += [straight, self.decode(self.encode(view.flip(-1))).flip(-1)]
        embedding = torch.stack([resize(v.float(), grid) for v in views]).mean(0)
        return Output(plain.features, embedding, self.classify(embedding))

    @property
    def num_classes(self) -> int:
        """K, the number of classes of the base network."""
        return self.classifier.num_classes

    @property
    def is_metric(self) -> bool:
        """Whether the logits are negative squared distances to prototypes."""
        return isinstance(self.classifier, PrototypeClassifier)

    @property
    def config(self) -> dict[str, Any]:
        """What ``build_network`` needs to make the same architecture again; plain JSON."""
        return {
            "classes": self.num_classes,
            "backbone": self.backbone.config,
            "decoder": self.decoder.config,
            "classifier": self.classifier.config,
        }


def assemble(
    backbone: backbones.Backbone,
    num_classes: int,
    decoder: str = "aspp",
    width: int = 128,
    classifier: str = "prototype",
    scale: float = 3.0,
) -> Network:
    """Put a decoder ("aspp" or "psp") and a classifier ("prototype" or "linear") on a backbone."""
    head = make_classifier(classifier, num_classes, scale)
    neck = make_decoder(decoder, backbone, head.embedding_channels, width)
    return Network(backbone, neck, head)


def make_decoder(
    kind: str, backbone: backbones.Backbone, out: int, width: int = 128, config: dict[str, Any] | None = None
) -> Decoder:
    """Make a decoder for the pyramid of ``backbone``, to ``out`` channels: "aspp", "psp", "espnetv2" or "transformers".

    The last is the head of a ready-made segmenter; ``config`` is that of the whole model.
    """
    if kind == "aspp":
        return ASPPDecoder(backbone.channels, backbone.strides, out, width)
    if kind == "psp":
        return PSPDecoder(backbone.channels, out, width)
    if kind == "espnetv2":
        return ESPNetV2Decoder(backbone.channels, out)
    if kind == "transformers" and config is not None:
        return segmenters.HeadDecoder(segmenters.empty(config))
    raise OwsegError(f"there is no decoder {kind!r}; it is aspp or psp.")


def make_classifier(
    kind: str, num_classes: int, scale: float = 3.0, embedding: int = LINEAR_EMBEDDING
) -> LinearClassifier | PrototypeClassifier:
    """Make a classifier ("prototype" or "linear") of ``num_classes``; ``embedding`` is how wide a linear one reads."""
    if kind == "prototype":
        return PrototypeClassifier(num_classes, scale)
    if kind == "linear":
        return LinearClassifier(embedding, num_classes)
    raise OwsegError(f"there is no classifier {kind!r}; it is prototype or linear.")


def build_network(config: dict[str, Any]) -> Network:
    """Build a network with random weights from ``Network.config``."""
    backbone = backbones.build(config["backbone"])
    head = make_classifier(num_classes=config["classes"], **config["classifier"])
    return Network(backbone, make_decoder(backbone=backbone, out=head.embedding_channels, **config["decoder"]), head)


def take_apart(model: Any) -> Network:
    """Cut a transformers segmenter (see ``owseg.models.segmenters``) at the three seams; it computes what it did."""
    seams, last = segmenters.seams_of(model.config), segmenters.last_convolution(model)
    classifier = LinearClassifier(last.in_channels, last.out_channels)
    classifier.conv = last
    decoder, body = segmenters.HeadDecoder(model), model.get_submodule(seams.body)
    backbone = backbones.Backbone(body, *backbones.normalisation(model.config.model_type))
    return Network(backbone, decoder, classifier)


def to_tensor(image: Any) -> Tensor:
    """Turn a picture (3, H, W) uint8 into a batch of one, (1, 3, H, W) float in [0, 1].

    Raises ``OwsegError`` for anything else.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or len(image) != 3:
        what = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise OwsegError(f"a picture is an array (3, H, W) of uint8, RGB, not {what}.")
    return torch.from_numpy(np.ascontiguousarray(image)).float().div_(255).unsqueeze(0)
