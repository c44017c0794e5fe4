"""From a data set to a knowledge base: train, fit the scorer, calibrate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from owseg.data.datasets import open_dataset
from owseg.data.void_class import with_background
from owseg.errors import OwsegError
from owseg.knowledge.base import Event, KnowledgeBase
from owseg.knowledge.calibration import calibrate, data_card, fit_scorers
from owseg.labels import BACKGROUND, check_class_names
from owseg.models.assemble import assemble
from owseg.models.backbones.base import Backbone, from_pretrained
from owseg.models.network import Network
from owseg.training.config import TrainConfig
from owseg.training.segmentation import train


def build_knowledge_base(
    data: str,
    backbone: str | Backbone,
    unknown: Sequence[str] = (),
    config: TrainConfig | None = None,
    run: Path | str = "run",
    decoder: str = "aspp",
    classifier: str = "prototype",
    fpr: float = 0.05,
    half: bool = False,
    resume: bool = False,
    scale: float = 3.0,
    background: bool = False,
) -> KnowledgeBase:
    """Train on ``data``'s train split without the classes ``unknown``, choose and calibrate on its val split.

    ``half`` rounds the network to what 16-bit floats can hold, before anything is fitted to it, so that it can be
    stored in half the space. ``scale`` is T of the prototypes. With ``background`` the network has one more class,
    trained on what is void in the train split, and its probability is the score: a baseline. Raises ``OwsegError`` for
    an unknown class that the data set does not have, and for a class called "unknown" or "void" that is not left out.
    """
    config = config or TrainConfig()
    everything = open_dataset(data, "train").labels
    labels = everything.without(unknown)
    if len(labels) < 2:
        raise OwsegError(
            f"only {len(labels)} class is left to be known; leave out fewer of {', '.join(everything.names)}."
        )
    check_class_names(labels.names)
    labels = labels.extend(BACKGROUND) if background else labels
    training, val = open_dataset(data, "train", labels, train=True), open_dataset(data, "val", labels)
    seen = replace(training, source=with_background(training.source)) if background else training
    torch.manual_seed(config.seed)
    body = from_pretrained(backbone) if isinstance(backbone, str) else backbone
    network = assemble(body, len(labels), decoder, classifier=classifier, scale=scale)
    network = train(network, seen, val, config, Path(run), resume)
    if half:
        round_to_half(network)
    event = Event(
        "train",
        f"trained on {training.source.name} with {len(labels)} classes",
        {
            **data_card(seen),
            "unknown": list(unknown),
            "backbone": Path(backbone).name if isinstance(backbone, str) else backbone.kind,
            "config": asdict(config),
        },
    )
    kb = KnowledgeBase(network, labels, history=(event,))
    kb = fit_scorers(kb, training, held_out=val)
    return calibrate(kb, val, fpr, scorer=BACKGROUND if background else "joint")


@torch.no_grad()
def round_to_half(network: Network) -> None:
    """Round every weight and statistic in place to the nearest 16-bit float, where that is finite."""
    for value in [*network.parameters(), *network.buffers()]:
        rounded = value.half().to(value.dtype)
        if value.is_floating_point() and torch.isfinite(rounded).all():
            value.copy_(rounded)
