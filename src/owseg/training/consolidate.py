"""One network of all classes that a knowledge base has and has learned, trained from its weights, in its own labels."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from owseg._progress import track
from owseg.data.dataset import DataSet, Source
from owseg.data.outliers import Outliers
from owseg.data.unlabeled import unlabeled_images
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import data_card, divide_val
from owseg.knowledge.event import Event
from owseg.labels import IGNORE, UNKNOWN
from owseg.models.classifiers import LinearClassifier, PrototypeClassifier
from owseg.models.network import Network
from owseg.models.ops import widened_conv
from owseg.models.over_images import over_images
from owseg.scorers import DEFAULT
from owseg.training.build import (
    card_of_val,
    fitted_and_calibrated,
    learned_parts,
    negative_beside,
    round_to_half,
    train_and_val,
)
from owseg.training.config import TrainConfig
from owseg.training.epochs import enough_epochs
from owseg.training.segmentation import train


def consolidate(
    kb: KnowledgeBase,
    data: str,
    config: TrainConfig | None = None,
    run: Path | str = "run",
    *,
    unknown: Sequence[str] = (),
    fpr: float = 0.05,
    outliers: Outliers | None = None,
    unlabeled: Sequence[Path] = (),
    half: bool = False,
    resume: bool = False,
    val_share: float | None = None,
) -> KnowledgeBase:
    """Return one network of all classes of ``kb``, learned ones included, trained on ``data``'s train split.

    It begins with the weights of ``kb`` (``widened``), and is trained as any (see ``build_knowledge_base``, whose
    other arguments these are). What a mask says counts; where it says nothing, the label is what ``kb`` predicts
    (``completed``). Masks of the classes ``unknown`` are not read. The score is fitted to the same labels, and the
    threshold is found on masks alone. There is no negative class but one that is trained on ``outliers`` anew: that of
    ``kb`` may take what it learned for unknown. Raises ``OwsegError`` for a mask classifier, and as
    ``build_knowledge_base``.
    """
    splits = train_and_val(data, kb.labels, val_share, (config or TrainConfig()).seed)
    train_split, val = (without_masks_of(split, unknown) for split in splits)
    config = config or enough_epochs(TrainConfig(), len(train_split))
    choose, calibration = divide_val(val)
    network = widened(kb)
    shown = None if outliers is None else outliers.unknown_to(kb.labels)
    photos = unlabeled_images(unlabeled, kb.labels) if unlabeled else None
    labelled, chosen_on = (completed(part, kb, title) for part, title in ((train_split, "train"), (choose, "val")))
    torch.manual_seed(config.seed)
    network = train(network, labelled, chosen_on, config, Path(run), resume)
    network, card = negative_beside(network, labelled, photos, choose, shown, config, Path(run) / "negative", resume)
    if half:
        round_to_half(network, learned_parts(network, config.mode))
    message = f"trained on {train_split.source.name} with {len(kb.labels)} classes, by a knowledge base that had "
    message += f"learned {', '.join(kb.learned_classes) or 'none'} and labelled what masks leave open"
    about = {"unknown": list(unknown), "config": asdict(config), **card_of_val(choose, calibration, val_share)}
    about |= {"from": kb.fingerprint(), "history": [event.message for event in kb.history]}
    result = KnowledgeBase(
        network, kb.labels, history=(Event("train", message, {**data_card(train_split), **card, **about}),)
    )
    return fitted_and_calibrated(result, labelled, photos, choose, calibration, fpr, DEFAULT)


def widened(kb: KnowledgeBase) -> Network:
    """Return the network of ``kb`` with an output for each of its classes, without its negative class.

    For the classes that it had it predicts what it did; raises ``OwsegError`` for a mask classifier, or a decoder that
    cannot be widened.
    """
    base, classes = kb.network, len(kb.labels)
    backbone, decoder, classifier = copy.deepcopy((base.backbone, base.decoder, base.classifier))
    if isinstance(classifier, PrototypeClassifier):
        decoder, classifier = decoder.widened(classes), PrototypeClassifier(classes, classifier.scale)
    elif isinstance(classifier, LinearClassifier):
        had = classifier.conv
        classifier = LinearClassifier(classifier.embedding_channels, classes)
        classifier.conv = widened_conv(had, classes)
        assert had.bias is not None and classifier.conv.bias is not None
        with torch.no_grad():
            # A new class begins as unlikely as the least likely: at 0 it would be predicted where others are below.
            classifier.conv.bias[base.num_classes :] = had.bias.min()
    else:
        raise OwsegError("a mask classifier has queries for its classes, and cannot be given others.")
    return Network(backbone, decoder, classifier, base.size, base.scales).requires_grad_(True)


def without_masks_of(data: DataSet, names: Sequence[str]) -> DataSet:
    """Return ``data`` with the classes ``names`` void in its masks; raise ``OwsegError`` for one that it has not."""
    source = data.source
    if missing := [name for name in names if name not in source.classes]:
        raise OwsegError(f"{source.name} has no class {missing[0]!r}; it has {', '.join(source.classes.names)}.")
    table = np.arange(256, dtype=np.uint8)
    table[[source.classes.index(name) for name in names]] = IGNORE

    def read(i: int) -> tuple[np.ndarray, np.ndarray | None]:
        image, mask = source.read(i)
        return image, None if mask is None else table[mask]

    return replace(data, source=replace(source, read=read)) if names else data


def completed(data: DataSet, kb: KnowledgeBase, title: str = "images") -> DataSet:
    """Return ``data`` in the classes of ``kb``, with what ``kb`` predicts wherever a mask names none of them.

    A pixel that is unknown to ``kb`` stays void there. All images are predicted at once; their labels are held, packed.
    """
    packed: list[bytes] = []
    decide = over_images(kb.engine(), data, lambda sample, output: (sample, kb.decide(sample, output).open_set))
    for sample, predicted in track(decide, f"labelling {title}", len(data)):
        mask = np.full_like(predicted, IGNORE) if sample.target is None else sample.target
        labels = np.where(mask < len(kb.labels), mask, np.where(predicted == UNKNOWN, IGNORE, predicted))
        packed.append(zlib.compress(labels.astype(np.uint8).tobytes(), 1))

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        image = data.source.read(i)[0]
        return image, np.frombuffer(zlib.decompress(packed[i]), np.uint8).reshape(image.shape[1:])

    source = Source(data.source.name, kb.labels, data.source.ids, read)
    return replace(data, source=source, labels=kb.labels, unknown_as=IGNORE)
