"""Classifiers: embedding (B, D, h, w) -> logits (B, K, h, w)."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from owseg.errors import OwsegError


class LinearClassifier(nn.Module):
    """Learned decision boundaries, ``logits = W f + b`` per pixel: a 1x1 convolution from D to K channels."""

    def __init__(self, embedding_channels: int, num_classes: int) -> None:
        super().__init__()
        self.embedding_channels, self.num_classes = embedding_channels, num_classes
        self.conv = nn.Conv2d(embedding_channels, num_classes, 1)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of ``make_classifier`` besides the number of classes; plain JSON."""
        return {"kind": "linear", "embedding": self.embedding_channels}

    def forward(self, embedding: Tensor) -> Tensor:
        """Return the logits (B, K, h, w) of an embedding (B, D, h, w)."""
        logits: Tensor = self.conv(embedding)
        return logits

    def evidence(self, embedding: Tensor) -> Tensor:
        """Return the evidence for each class (see ``Output``), (B, K, h, w): here it is the logits."""
        return self.forward(embedding)


class PrototypeClassifier(nn.Module):
    """Fixed prototypes ``m_t = T e_t`` in a metric space of D = K dimensions; it has no parameters.

    ``logits_t = -||f - m_t||^2 = -|f|^2 + 2 T f_t - T^2``: their softmax is DMLNet's Eq. 2 (Cen et al., ICCV
    2021), and they cost O(K) per pixel. ``scale`` is T. Raises ``OwsegError`` for fewer than two classes or a
    scale that is not positive.
    """

    def __init__(self, num_classes: int, scale: float = 3.0) -> None:
        super().__init__()
        if num_classes < 2:
            raise OwsegError(f"a metric space needs at least two classes, not {num_classes}.")
        if not scale > 0:
            raise OwsegError(f"the scale of the prototypes is a positive number, not {scale}.")
        self.num_classes, self.embedding_channels, self.scale = num_classes, num_classes, float(scale)

    @property
    def prototypes(self) -> Tensor:
        """The prototypes ``T I``, one per row: (K, D) float32 on the CPU."""
        return self.scale * torch.eye(self.num_classes)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of ``make_classifier`` besides the number of classes; plain JSON."""
        return {"kind": "prototype", "scale": self.scale}

    def forward(self, embedding: Tensor) -> Tensor:
        """Return the negative squared distances (B, K, h, w) to the prototypes, at most 0 up to rounding.

        They are float32, or float64 for an embedding of float64. Raises ``OwsegError`` where D is not K.
        """
        if embedding.shape[1] != self.num_classes:
            raise OwsegError(
                f"the embedding has {embedding.shape[1]} channels; "
                f"a prototype classifier of {self.num_classes} classes needs as many as classes."
            )
        embedding = _at_least_float32(embedding)  # squares of 16-bit floats overflow from 256 on
        return self.evidence(embedding) - embedding.square().sum(1, keepdim=True)

    def evidence(self, embedding: Tensor) -> Tensor:
        """Return the evidence for each class, ``2 T f_t - T^2``, (B, K, h, w): the logits without ``-|f|^2``.

        Its softmax is that of the logits. The logits are 0 at a prototype and below 0 elsewhere; the evidence is T^2 at
        the prototype, positive where f is nearer to it than to the origin and negative elsewhere, so it has both signs
        as the logits of a linear classifier have.
        """
        return 2 * self.scale * _at_least_float32(embedding) - self.scale**2


class MaskClassifier(nn.Module):
    """The class scores ``s_k`` in the evidence of queries (see ``query_evidence``); it has no parameters.

    The embedding is that evidence: D = K + 1, or K + 2 ``with_negative`` class. Its first channel is the confidence of
    all masks, which the score ``eam`` reads.
    """

    def __init__(self, num_classes: int, with_negative: bool = False) -> None:
        super().__init__()
        self.num_classes, self.with_negative = num_classes, with_negative
        self.embedding_channels = num_classes + 1 + with_negative

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of ``make_classifier`` besides the number of classes; plain JSON."""
        return {"kind": "masks", "with_negative": self.with_negative}

    def forward(self, embedding: Tensor) -> Tensor:
        """Return ``s`` (B, K, h, w), each at least 0: how many masks, by their confidence, give the pixel a class."""
        return embedding[:, 1 : self.num_classes + 1]

    def evidence(self, embedding: Tensor) -> Tensor:
        """Return the evidence for each class (see ``Output``), (B, K, h, w): here it is ``s``."""
        return self.forward(embedding)

    def negative(self, embedding: Tensor) -> Tensor | None:
        """Return how much likelier the negative class is than any other, (B, 1, h, w); None without such a class."""
        return embedding[:, self.num_classes + 1 :] if self.with_negative else None


Classifier: TypeAlias = LinearClassifier | PrototypeClassifier | MaskClassifier


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
