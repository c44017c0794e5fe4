"""The network in three steps: encode, decode, classify."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from owseg.errors import OwsegError
from owseg.models.backbones.base import Backbone
from owseg.models.classifiers import Classifier, MaskClassifier, PrototypeClassifier
from owseg.models.decoders.base import Decoder
from owseg.models.ops import resize, size_of, working_size
from owseg.types import Output


class Residual(Protocol):
    """What was learned beside a frozen network and adds to what its decoder finds (see ``residual_pattern``)."""

    def added(self, decoder: Decoder, features: Sequence[Tensor], penultimate: Tensor, embedding: Tensor) -> Tensor:
        """Return the embedding (B, D, h, w) with the residual added."""
        ...


class Network(nn.Module):
    """``classify(decode(encode(image)))``; each step is public, so that others may add to it or replace it.

    ``encode`` image (B, 3, H, W) in [0, 1] -> pyramid; ``decode`` pyramid -> embedding (B, D, h, w); ``classify``
    embedding -> logits (B, K, h, w). ``size`` is the working size: the shorter side, in pixels, of the images that it
    was trained on, to which others are resized; None for any. The three steps take images as they are; ``forward``
    takes them at each of ``scales``, factors of their size, and averages pyramids and embeddings.

    ``negative``, where there is one, is a decoder of one channel beside the other: the logit of what is none of the K
    classes against all of them, learned from outliers (see ``owseg.training.negative``). No label depends on it; scores
    may read it (``Output.negative``). A mask classifier has its own instead (see ``query_evidence``).

    ``squares`` is for a network whose input has one size: an ``Engine`` then runs an image of another shape in squares
    of ``size``, which overlap.
    """

    def __init__(
        self,
        backbone: Backbone,
        decoder: Decoder,
        classifier: Classifier,
        size: int | None = None,
        scales: Sequence[float] = (1.0,),
        negative: Decoder | None = None,
        squares: bool = False,
    ) -> None:
        super().__init__()
        self.size, self.scales, self.squares = size, tuple(scales), squares
        self.backbone, self.decoder, self.classifier, self.negative = backbone, decoder, classifier, negative

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

    def forward(self, image: Tensor, residual: Residual | None = None) -> Output:
        """Return the result for ``image`` (B, 3, H, W), RGB in [0, 1]: the mean over ``scales``.

        With a ``residual``, the evidence with it is in the result as well; all else is as without.
        """
        pyramids, decoded = zip(*(self._pass(image, scale, residual) for scale in self.scales), strict=True)
        return self._output(_mean_pyramid(pyramids), _mean_maps(decoded))

    def _pass(
        self, image: Tensor, scale: float, residual: Residual | None, mirrored: bool = False
    ) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Return the pyramid of ``image`` at ``scale``, and its "embedding" and, where they are, the maps beside it.

        These are the "negative" channel (B, 1, h, w) and the embedding with the "residual". All are mirrored, if at
        all.
        """
        view = image if scale == 1 else resize(image, working_size(size_of(image), None, scale, self.multiple))
        features = self.encode(view.flip(-1) if mirrored else view)
        maps = {} if self.negative is None else {"negative": self.negative(features)}
        if residual is None:
            return features, {"embedding": self.decode(features), **maps}
        penultimate = self.decoder.penultimate(features)
        embedding = self.decoder.embed(penultimate)
        maps["residual"] = residual.added(self.decoder, features, penultimate, embedding)
        return features, {"embedding": embedding, **maps}

    def _output(self, features: tuple[Tensor, ...], maps: Mapping[str, Tensor]) -> Output:
        """Return the output for a pyramid and the maps of ``_pass``."""
        embedding, beside, negative = maps["embedding"], maps.get("residual"), maps.get("negative")
        logits = self.classify(embedding)
        # A linear classifier's logits are its evidence: the same tensor, at no cost.
        evidence = self.classifier.evidence(embedding.float()) if self.is_metric else logits
        residual = None if beside is None else self.classifier.evidence(beside.float())
        if negative is None and isinstance(self.classifier, MaskClassifier):
            negative = self.classifier.negative(embedding)
        return Output(features, embedding, logits, residual, evidence, None if negative is None else negative[:, 0])

    def full_resolution(self, output: Output, size: tuple[int, int]) -> Output:
        """Return ``output`` with the embedding interpolated to ``size`` and classified there (features unchanged)."""
        # Distances are quadratic in f, so interpolated logits are not the logits of the interpolated embedding.
        maps = {"embedding": resize(output.embedding, size)}
        if output.negative is not None:
            maps["negative"] = resize(output.negative[:, None], size)
        # The evidence is linear in f and so may be interpolated.
        residual = None if output.residual is None else resize(output.residual, size)
        return replace(self._output(output.features, maps), residual=residual)

    def multi_scale(
        self, image: Tensor, scales: Sequence[float] = (0.75, 1.0, 1.5), residual: Residual | None = None
    ) -> Output:
        """Return the output for ``image``, its embedding averaged over views of it at ``scales``, also mirrored.

        The pyramid is that of ``forward``. With a linear classifier the logits are averaged as well.
        """
        # DMLNet averages scores over five scales; averaging the embedding gives any scorer a single output to read.
        straight = {scale: self._pass(image, scale, residual) for scale in dict.fromkeys((*self.scales, *scales))}
        features = _mean_pyramid([straight[scale][0] for scale in self.scales])
        views = []
        for scale in scales:
            mirrored = self._pass(image, scale, residual, mirrored=True)[1]
            views += [straight[scale][1], {name: maps.flip(-1) for name, maps in mirrored.items()}]
        size = size_of(straight[self.scales[0]][1]["embedding"])
        views = [{name: resize(maps.float(), size) for name, maps in view.items()} for view in views]
        return self._output(features, _mean_maps(views))

    @property
    def multiple(self) -> int:
        """The number of pixels that both sides of an image become a multiple of: 32 with a working size, 1 without."""
        # Where a side is odd at some stride, padding moves the cells by half a pixel, which no stage has met in
        # training: labels and scores get far worse with one pixel more.
        return 1 if self.size is None else 32

    @property
    def num_classes(self) -> int:
        """K, the number of classes of the base network."""
        return self.classifier.num_classes

    @property
    def is_metric(self) -> bool:
        """Whether the logits are negative squared distances to prototypes."""
        return isinstance(self.classifier, PrototypeClassifier)

    @property
    def has_masks(self) -> bool:
        """Whether the logits are sums over the masks of queries."""
        return isinstance(self.classifier, MaskClassifier)

    @property
    def has_negative(self) -> bool:
        """Whether there is a negative class."""
        own = isinstance(self.classifier, MaskClassifier) and self.classifier.with_negative
        return own or self.negative is not None

    @property
    def config(self) -> dict[str, Any]:
        """The argument of ``build_network``, which makes the same architecture with random weights; plain JSON."""
        return {
            "classes": self.num_classes,
            "backbone": self.backbone.config,
            "decoder": self.decoder.config,
            "classifier": self.classifier.config,
            **({} if self.size is None else {"size": self.size}),
            **({"scales": list(self.scales)} if self.scales != (1.0,) else {}),
            **({} if self.negative is None else {"negative": self.negative.config}),
            **({"squares": True} if self.squares else {}),
        }


class BackboneAlone(Network):
    """A ``backbone`` as a network, so that an ``Engine`` runs it: its last stage is embedding and logits as well."""

    def __init__(
        self, backbone: Backbone, size: int | None = None, scales: Sequence[float] = (1.0,), squares: bool = False
    ) -> None:
        nothing = cast(Decoder, nn.Identity()), cast(Classifier, nn.Identity())
        super().__init__(backbone, *nothing, size, scales, squares=squares)
        self.train(backbone.training)

    @classmethod
    def of(cls, network: Network) -> BackboneAlone:
        """Return what has the same pyramid as ``network``, at the cost of its backbone."""
        return cls(network.backbone, network.size, network.scales, network.squares)

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Return the last stage of the pyramid."""
        return features[-1]


def _mean_pyramid(pyramids: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Return the mean of each stage over ``pyramids``, on the grids of the first."""
    return tuple(_mean(stages) for stages in zip(*pyramids, strict=True))


def _mean_maps(views: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of each map over ``views``, on the grid of the first."""
    return {name: _mean([view[name] for view in views]) for name in views[0]}


def _mean(maps: Sequence[Tensor]) -> Tensor:
    """Return the mean of ``maps`` (B, C, h, w), on the grid of the first; of one map itself."""
    first, *others = maps
    return torch.stack([first, *(resize(m, size_of(first)) for m in others)]).mean(0) if others else first


def check_image(image: Any) -> None:
    """Raise ``OwsegError`` for anything but an image (3, H, W) uint8."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or len(image) != 3:
        what = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise OwsegError(f"an image is an array (3, H, W) of uint8, RGB, not {what}.")


def to_tensor(image: Any) -> Tensor:
    """Return an image (3, H, W) uint8 as a batch of one, (1, 3, H, W) float32 in [0, 1].

    Raises ``OwsegError`` for anything else.
    """
    check_image(image)
    # from_numpy refuses the negative strides of a mirrored array.
    return torch.from_numpy(np.ascontiguousarray(image)).float().div_(255).unsqueeze(0)
