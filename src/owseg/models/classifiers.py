"""Classifiers: embedding (B, D, h, w) -> logits (B, K, h, w)."""

from __future__ import annotations

from typing import Any

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
        """What ``make_classifier`` needs besides the number of classes; plain JSON."""
        return {"kind": "linear", "embedding": self.embedding_channels}

    def forward(self, embedding: Tensor) -> Tensor:
        """Return the logits (B, K, h, w) of an embedding (B, D, h, w)."""
        return self.conv(embedding)

    def evidence(self, embedding: Tensor) -> Tensor:
        """Return what speaks for each class, (B, K, h, w): the logits."""
        return self(embedding)


class PrototypeClassifier(nn.Module):
    """Fixed prototypes ``m_t = T e_t`` in a metric space of D = K dimensions; nothing is learned here.

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
        """What ``make_classifier`` needs besides the number of classes; plain JSON."""
        return {"kind": "prototype", "scale": self.scale}

    def forward(self, embedding: Tensor) -> Tensor:
        """Return the negative squared distances (B, K, h, w) float32, at most 0 up to rounding; D must be K."""
        if embedding.shape[1] != self.num_classes:
            raise OwsegError(
                f"the embedding has {embedding.shape[1]} channels; "
                f"a prototype classifier of {self.num_classes} classes needs as many as classes."
            )
        embedding = embedding.float()  # squares of 16-bit floats overflow from 256 on
        return self.evidence(embedding) - embedding.square().sum(1, keepdim=True)

    def evidence(self, embedding: Tensor) -> Tensor:
        """Return what speaks for each class, ``2 T f_t - T^2``: of the same softmax as the logits, and T^2 at m_t.

        The logits are 0 at a prototype and below 0 elsewhere; this is above 0 nearer to the prototype than to the
        origin, and below 0 beyond, as the evidence of a linear classifier may be.
        """
        return 2 * self.scale * embedding - self.scale**2
