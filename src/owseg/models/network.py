"""The network in three steps: encode, decode, classify."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from owseg.errors import OwsegError
from owseg.models.backbones.base import Backbone
from owseg.models.classifiers import LinearClassifier, PrototypeClassifier
from owseg.models.decoders.base import Decoder
from owseg.models.ops import resize
from owseg.types import Output


class Network(nn.Module):
    """``classify(decode(encode(image)))``; each step is public, so that others may add to it or replace it.

    ``encode`` image (B, 3, H, W) in [0, 1] -> pyramid; ``decode`` pyramid -> embedding (B, D, h, w); ``classify``
    embedding -> logits (B, K, h, w). ``size`` is the working size: the shorter side, in pixels, of the images that it
    was trained on, to which others are resized; None for any. The three steps take images as they are.
    """

    def __init__(
        self,
        backbone: Backbone,
        decoder: Decoder,
        classifier: LinearClassifier | PrototypeClassifier,
        size: int | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        self.backbone, self.decoder, self.classifier = backbone, decoder, classifier

    def encode(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the backbone's pyramid, finest first."""
        features: tuple[Tensor, ...] = self.backbone(image)
        return features

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Return the embedding (B, D, h, w)."""
        embedding: Tensor = self.decoder(features)
        return embedding

    def classify(self, embedding: Tensor) -> Tensor:
        """Return the logits (B, K, h, w) float32, at any resolution of the embedding."""
        # Under autocast the embedding has 16 bits, too few for squared distances.
        logits: Tensor = self.classifier(embedding.float())
        return logits

    def forward(self, image: Tensor) -> Output:
        """Return the result of one pass; ``image`` (B, 3, H, W), RGB in [0, 1]."""
        features = self.encode(image)
        return self._output(features, self.decode(features))

    def _output(self, features: tuple[Tensor, ...], embedding: Tensor, residual: Tensor | None = None) -> Output:
        logits = self.classify(embedding)
        # A linear classifier's logits are its evidence: the same tensor, at no cost.
        evidence = self.classifier.evidence(embedding.float()) if self.is_metric else logits
        return Output(features, embedding, logits, residual, evidence)

    def full_resolution(self, output: Output, size: tuple[int, int]) -> Output:
        """Return ``output`` with the embedding interpolated to ``size`` and classified there (features unchanged)."""
        # Distances are quadratic in f, so interpolated logits are not the logits of the interpolated embedding.
        embedding = resize(output.embedding, size)
        # The evidence, with a residual or without, is linear in f and so may be interpolated.
        residual = None if output.residual is None else resize(output.residual, size)
        return self._output(output.features, embedding, residual)

    def multi_scale(self, image: Tensor, scales: Sequence[float] = (0.75, 1.0, 1.5)) -> Output:
        """Return the output for ``image``, its embedding averaged over views of it at ``scales``, also mirrored.

        The pyramid is that of the image itself. With a linear classifier the logits are averaged as well.
        """
        # DMLNet averages scores over five scales; averaging the embedding gives any scorer a single output to read.
        single, views = self(image), []
        grid, size = (single.embedding.shape[-2], single.embedding.shape[-1]), image.shape[-2:]
        for scale in scales:
            view = resize(image, (round(scale * size[0]), round(scale * size[1])))
            # The pass at scale 1 has been made for the pyramid.
            straight = single.embedding if scale == 1 else self.decode(self.encode(view))
            views += [straight, self.decode(self.encode(view.flip(-1))).flip(-1)]
        embedding = torch.stack([resize(v.float(), grid) for v in views]).mean(0)
        return self._output(single.features, embedding)

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
        """The argument of ``build_network``, which makes the same architecture with random weights; plain JSON."""
        return {
            "classes": self.num_classes,
            "backbone": self.backbone.config,
            "decoder": self.decoder.config,
            "classifier": self.classifier.config,
            **({} if self.size is None else {"size": self.size}),
        }


def to_tensor(image: Any) -> Tensor:
    """Return an image (3, H, W) uint8 as a batch of one, (1, 3, H, W) float32 in [0, 1].

    Raises ``OwsegError`` for anything else.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or len(image) != 3:
        what = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise OwsegError(f"an image is an array (3, H, W) of uint8, RGB, not {what}.")
    # from_numpy refuses the negative strides of a mirrored array.
    return torch.from_numpy(np.ascontiguousarray(image)).float().div_(255).unsqueeze(0)
