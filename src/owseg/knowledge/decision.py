"""The decision of a knowledge base as functions of tensors alone, so that a graph can be traced through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from owseg.increments.base import Increment
from owseg.labels import UNKNOWN, LabelSpace
from owseg.models.ops import closed_map_at, resize
from owseg.types import Output


class Decides(Protocol):
    """What decides of the labels: a knowledge base."""

    @property
    def labels(self) -> LabelSpace:
        """All classes."""
        ...

    @property
    def base_classes(self) -> tuple[str, ...]:
        """The names of the classes that the network was trained for."""
        ...

    @property
    def increments(self) -> Sequence[Increment]:
        """What was learned since."""
        ...


def label_maps(kb: Decides, output: Output, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the closed map (B, H, W) uint8 of all classes, and where it is what was learned, (B, H, W) bool.

    The closed map is the base network's argmax (DMLNet, Eq. 5); then each increment in order writes its class where it
    predicts it (the inference of Algorithm 1, Eq. 12).
    """
    labels = closed_map_at(output.logits, size)
    # Each by a number of its own: where an increment wrote a base class, it is decided as well.
    for number, increment in enumerate(kb.increments, len(kb.labels)):
        labels = increment.update_labels(labels, output, number)
    written = [kb.labels.index(increment.name) for increment in kb.increments]
    ids = torch.tensor([*range(len(kb.labels)), *written], dtype=torch.uint8).to(labels.device)
    return ids[labels], labels >= len(kb.base_classes)


def score_map(score: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a score (B, h, w) at ``size``, (B, H, W) float32: one channel is interpolated."""
    return resize(score[:, None].float(), size)[:, 0]


def open_set(labels: Tensor, score: Tensor, learned: Tensor, threshold: Tensor) -> Tensor:
    """Return ``labels`` (B, H, W) uint8 with UNKNOWN where the score is above the threshold and nothing was learned."""
    return labels.masked_fill((score > threshold) & ~learned, UNKNOWN)
