"""From a data set to a knowledge base: train, fit the scorer, calibrate."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from owseg.data.dataset import DataSet, divide, joined, spread_over
from owseg.data.datasets import open_dataset
from owseg.data.outliers import Outliers
from owseg.data.unlabeled import unlabeled_images
from owseg.data.void_class import with_background
from owseg.errors import NoSuchSplit, OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import calibrate, data_card, divide_val, fit_scorers
from owseg.knowledge.event import Event
from owseg.labels import BACKGROUND, LabelSpace, check_class_names
from owseg.models.assemble import assemble
from owseg.models.backbones.base import Backbone, from_pretrained
from owseg.models.network import Network
from owseg.scorers import DEFAULT, fitted_names, plain_name
from owseg.training.config import (
    CLASSIFIER,
    DEFAULT_BACKBONE,
    MEMBERS,
    PROTOTYPE_SCALE,
    SCALES,
    WIDTH,
    NegativeConfig,
    TrainConfig,
)
from owseg.training.epochs import enough_epochs
from owseg.training.negative import with_negative
from owseg.training.segmentation import train


def build_knowledge_base(
    data: str,
    backbone: str | Backbone = DEFAULT_BACKBONE,
    unknown: Sequence[str] = (),
    config: TrainConfig | None = None,
    run: Path | str = "run",
    *,
    decoder: str = "pyramid",
    width: int = WIDTH,
    members: int = MEMBERS,
    classifier: str = CLASSIFIER,
    scale: float = PROTOTYPE_SCALE,
    fpr: float = 0.05,
    size: int | None = None,
    scales: Sequence[float] = SCALES,
    outliers: Outliers | None = None,
    unlabeled: Sequence[Path] = (),
    half: bool = False,
    background: bool = False,
    scorer: str = DEFAULT,
    resume: bool = False,
    val_share: float | None = None,
) -> KnowledgeBase:
    """Train on ``data``'s train split without the classes ``unknown``; choose and calibrate on its val split.

    One half of val chooses the weights and fits the scales of the score, the other half calibrates the threshold at
    ``fpr`` (see ``divide_val``). ``backbone`` is a name or path (see ``from_pretrained``) or a backbone; ``decoder``,
    ``width``, ``members``, ``classifier`` and ``scale`` are those of ``assemble``. ``size`` is the working size, by
    default the usual size of the training images, and ``scales`` are the factors of it at which the trained network
    looks at each image. Without a ``config``, few images get more epochs. With ``outliers`` it gets a negative
    class as well (see ``with_negative``). ``unlabeled`` are image files of other cameras and places, which show known
    classes and need no labels: the score is fitted to them as well (see ``fit_scorers``), and they are inliers of the
    negative class, so that less of another place is unknown. ``half`` rounds what was learned to what 16-bit floats can
    hold, before anything is fitted to it, so that it can be stored in half the space. With ``background`` the network
    has one more class, trained on what is void in the train split, whose probability is the score: a baseline. Else the
    score is ``scorer``; with one that is not fitted, such as "msp", nothing is fitted. ``val_share`` is that of
    ``train_and_val``. Raises ``OwsegError`` for an unknown class that the data set does not have, and for a class
    called "unknown" or "void" that is not left out.
    """
    labels = _known_classes(data, unknown, background)
    shown = None if outliers is None else outliers.unknown_to(labels)
    fitted_on, val = train_and_val(data, labels, val_share, (config or TrainConfig()).seed)
    config = config or enough_epochs(TrainConfig(), len(fitted_on))
    trained_on = replace(fitted_on, source=with_background(fitted_on.source)) if background else fitted_on
    choose, calibration = divide_val(val)
    photos = unlabeled_images(unlabeled, labels) if unlabeled else None
    torch.manual_seed(config.seed)
    body = from_pretrained(backbone) if isinstance(backbone, str) else backbone
    size = size or usual_size(fitted_on)
    network = assemble(body, len(labels), decoder, width, classifier, scale, size, scales, members)
    network = train(network, trained_on, choose, config, Path(run), resume)
    network, card = negative_beside(network, fitted_on, photos, choose, shown, config, Path(run) / "negative", resume)
    if half:
        round_to_half(network, learned_parts(network, config.mode))
    about = {"unknown": list(unknown), "config": asdict(config), **card_of_val(choose, calibration, val_share)}
    about["backbone"] = Path(backbone).name if isinstance(backbone, str) else backbone.kind
    message = _message(fitted_on, shown, choose if choose is calibration else None)
    event = Event("train", message, {**data_card(trained_on), **card, **about})
    kb = KnowledgeBase(network, labels, history=(event,))
    return fitted_and_calibrated(kb, fitted_on, photos, choose, calibration, fpr, BACKGROUND if background else scorer)


def train_and_val(
    data: str, labels: LabelSpace, val_share: float | None = None, seed: int = 0
) -> tuple[DataSet, DataSet]:
    """Return the splits train, to be trained on, and val of a data set, opened against ``labels``.

    Where there is no val of its own, ``val_share`` of train takes its place, drawn with ``seed``. Raises ``OwsegError``
    for a share of a data set that has a val, and ``NoSuchSplit`` where there is neither.
    """
    train = open_dataset(data, "train", labels, train=True)
    if val_share is None:
        try:
            return train, open_dataset(data, "val", labels)
        except NoSuchSplit as error:
            way = "--val 0.2 keeps a fifth of train in its place"
            raise NoSuchSplit(f"{str(error).removesuffix('.')}; {way}.") from None
    with suppress(NoSuchSplit):
        if open_dataset(data, "val", labels).source.name != train.source.name:
            raise OwsegError(f"{data} has a split val of its own; leave --val out.")
    rest, _ = divide(train, val_share, seed)
    return rest, divide(open_dataset(data, "train", labels), val_share, seed)[1]


def learned_parts(network: Network, mode: str) -> list[str]:
    """Return the parts of ``network`` that a training in this ``mode`` changes."""
    parts = ("decoder", "classifier", "negative")
    return [part for part in parts if getattr(network, part) is not None] if mode == "frozen" else [""]


def fitted_and_calibrated(
    kb: KnowledgeBase, train: DataSet, photos: DataSet | None, choose: DataSet, calibration: DataSet, fpr: float,
    scorer: str,
) -> KnowledgeBase:  # fmt: skip
    """Return ``kb`` with ``scorer`` calibrated, and fitted before if it is a fitted one; with BACKGROUND joint is."""
    fitted = "joint" if scorer == BACKGROUND else plain_name(scorer)
    if fitted in fitted_names():
        kb = fit_scorers(kb, train, held_out=choose, names=(fitted,), unlabeled=photos)
    return calibrate(kb, calibration, fpr, scorer=scorer)


def _known_classes(data: str, unknown: Sequence[str], background: bool) -> LabelSpace:
    """Return the classes of ``data`` less ``unknown``, with BACKGROUND if it is asked for.

    Raises ``OwsegError`` for fewer than two, and for a reserved name.
    """
    everything = open_dataset(data, "train").labels
    labels = everything.without(unknown)
    if len(labels) < 2:
        if len(everything) < 2:
            raise OwsegError(f"{data} has one class, {everything.names[0]}; name a second one, such as other, in it.")
        raise OwsegError(f"two known classes are the least; leave out fewer of {', '.join(everything.names)}.")
    check_class_names(labels.names)
    return labels.extend(BACKGROUND) if background else labels


def card_of_val(choose: DataSet, calibration: DataSet, val_share: float | None) -> dict[str, Any]:
    """Return what the history says of the images that were not trained on."""
    card = {"val": {"images": len(choose), "calibrated_apart": choose is not calibration}}
    return card if val_share is None else {**card, "val_share": val_share}


def _message(data: DataSet, shown: Outliers | None, undivided: DataSet | None) -> str:
    """Return what the history says: on what it was trained, and where val was too small to be divided."""
    message = f"trained on {data.source.name} with {len(data.labels)} classes"
    message += f" and {len(shown)} outliers" if shown is not None else ""
    if undivided is not None:
        message += f"; val is too small to divide ({len(undivided)}), so it chose the weights and calibrates as well"
    return message


def negative_beside(
    network: Network, train: DataSet, photos: DataSet | None, val: DataSet, outliers: Outliers | None,
    config: TrainConfig, run: Path, resume: bool,
) -> tuple[Network, dict[str, Any]]:  # fmt: skip
    """Return ``network`` with a negative class, trained with the usual settings, and what the history says of it.

    Without ``outliers`` that is the network itself, and nothing.
    """
    if outliers is None:
        return network, {}
    inliers = train if photos is None else joined(train, photos)
    # Where the images are few, a step takes them all.
    batch = min(NegativeConfig.batch, max(1, len(inliers) // config.devices))
    same = NegativeConfig(
        batch=batch, seed=config.seed, precision=config.precision, devices=config.devices, workers=config.workers
    )
    if config.epochs >= TrainConfig.epochs:  # a training that is short by intention stays so
        same = enough_epochs(same, len(inliers))
    # A run that was stopped before this part has nothing to resume here.
    resume = resume and any(run.rglob("last.ckpt"))
    network, ap = with_negative(network, inliers, val, outliers, same, run, resume)
    card = {"outliers": outliers.name, "objects": len(outliers), "categories": outliers.counts(), "val_ap": ap}
    return network, card if photos is None else {**card, "unlabeled": data_card(photos)}


def usual_size(data: DataSet, most: int = 32) -> int:
    """Return the median of the shorter sides of up to ``most`` images of ``data``, in pixels."""
    return int(np.median([min(sample.image.shape[1:]) for sample in spread_over(data, most)]))


@torch.no_grad()
def round_to_half(network: Network, parts: Sequence[str] = ("",)) -> None:
    """Round every weight and statistic of ``parts``, by default all, in place to the nearest finite 16-bit float."""
    modules = [network.get_submodule(part) for part in parts]
    for value in (value for module in modules for value in (*module.parameters(), *module.buffers())):
        rounded = value.half().to(value.dtype)
        if value.is_floating_point() and torch.isfinite(rounded).all():
            value.copy_(rounded)
