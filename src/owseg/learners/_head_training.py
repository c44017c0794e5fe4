"""Training a decoder head on the pyramids of a few images, for ``PLM`` and ``FineTune``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import nn

from owseg._progress import progress
from owseg.data.lazy import Lazy
from owseg.errors import OwsegError, check_numbers
from owseg.increments.head import Head, frozen
from owseg.knowledge.base import KnowledgeBase
from owseg.losses.segmentation import class_weights, objective
from owseg.models.classifiers import LinearClassifier, MaskClassifier, PrototypeClassifier
from owseg.models.decoders.base import Decoder
from owseg.models.ops import widened_conv
from owseg.types import Forward, Output, Shot

KEPT = 16
"""The views that are kept; those of more shots are computed when it is their turn."""

View: TypeAlias = tuple[Output, np.ndarray]
"""The output for an image and its targets, (H, W) uint8 ids."""


@dataclass(frozen=True)
class HeadTraining:
    """How a head is trained: AdamW at ``lr`` with a cosine schedule, one image in each of ``steps``.

    A class of pixel frequency q weighs q^-balance in the cross-entropy; ``variance_weight`` is lambda_VL. Raises
    ``OwsegError`` for what nothing can be trained with.
    """

    steps: int
    lr: float
    variance_weight: float
    balance: float
    seed: int

    def __post_init__(self) -> None:
        check_numbers(self, {"steps": 0, "variance_weight": 0, "balance": 0, "seed": 0}, ("lr",))


def views_of(shots: Sequence[Shot], forward: Forward, target: Callable[[Output, Shot], np.ndarray]) -> Sequence[View]:
    """Return the views to train on, of which the last are kept: each shot and its mirror image, to double few shots."""

    def view(i: int) -> View:
        shot = shots[i // 2].mirrored() if i % 2 else shots[i // 2]
        output = forward(shot.image)
        return output, target(output, shot)

    return Lazy(range(2 * len(shots)), view, KEPT)


def train_head(
    kb: KnowledgeBase,
    name: str,
    views: Sequence[View],
    how: HeadTraining,
    alone: bool,
) -> Head:
    """Return a head for the class ``name``, grown from the newest one of ``kb`` and trained on ``views``.

    Raises ``OwsegError`` for a class that ``kb`` knows.
    """
    if name in kb.labels:
        raise OwsegError(f"a head is trained for a new class, and {name!r} is known; correct it by the probe or npm.")
    decoder, classifier = _grown(kb)
    _train(decoder, classifier, views, how)
    return Head(name, frozen(decoder), frozen(classifier), alone)


def _grown(kb: KnowledgeBase) -> tuple[Decoder, LinearClassifier | PrototypeClassifier]:
    """Return a copy of the newest head with room for one class more than ``kb`` knows; a new class starts at zero.

    A head is left out where a class before its own was forgotten or merged: its ids are no longer those of the labels.
    """
    heads = [i for i in kb.increments if isinstance(i, Head) and i.last == kb.labels.index(i.name)]
    source = heads[-1] if heads else kb.network
    decoder = heads[-1].decoder if heads else kb.network.decoder
    classes = len(kb.labels) + 1
    # A metric space grows by a dimension, with fixed prototypes; a linear classifier by a row of weights.
    if isinstance(source.classifier, PrototypeClassifier):
        return decoder.widened(classes), PrototypeClassifier(classes, source.classifier.scale)
    if isinstance(source.classifier, MaskClassifier):
        raise OwsegError("the head of a mask classifier cannot learn a class; learn with the method probe or npm.")
    classifier = LinearClassifier(source.classifier.embedding_channels, classes)
    classifier.conv = widened_conv(source.classifier.conv, classes)
    return copy.deepcopy(decoder), classifier


def _train(
    decoder: nn.Module,
    classifier: LinearClassifier | PrototypeClassifier,
    views: Sequence[View],
    how: HeadTraining,
) -> None:
    """Train decoder and classifier in place; the images take turns in a random order."""
    # Of these shots: a new class covers few pixels, which a plain mean over pixels would hardly notice.
    weights = class_weights((target for _, target in views), classifier.num_classes, how.balance)
    # The head is a copy of one that was frozen.
    parameters = [p for module in (decoder, classifier) for p in module.requires_grad_(True).parameters()]
    device = parameters[0].device
    # DMLNet's README has lr 0.1, five crops of 768 and 10 iterations; what the paper's numbers took is not published.
    optimizer = torch.optim.AdamW(parameters, lr=how.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.steps)
    order = np.random.default_rng(how.seed)
    decoder.train()
    # The copied batch statistics come from thousands of images; those of a step would come from one. (In DMLNet's
    # released code those of older heads drift.)
    for module in decoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    # The caller's random state stays as it was; dropout draws from the seed.
    with torch.random.fork_rng(), torch.enable_grad(), progress("training a head", how.steps) as tick:
        torch.manual_seed(how.seed)
        turn: list[int] = []
        for _ in range(how.steps):
            # Without replacement: each view comes once before any comes again.
            turn = turn or order.permutation(len(views)).tolist()
            output, ids = views[turn.pop()]
            # (1, H, W); the pyramids of few shots are kept, so a step runs the head alone.
            target = torch.from_numpy(ids).long().to(device)[None]
            loss = objective(classifier, decoder(output.features), target, how.variance_weight, weights.to(device))
            if not torch.isfinite(loss):
                raise OwsegError(f"the loss of the new head is {loss.item()}; lower the learning rate.")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            tick(f"loss {loss.item():.3f}")
