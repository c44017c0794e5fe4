"""From a data set to a knowledge base: train, fit the scorer, calibrate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from owseg.data.dataset import DataSet, joined, spread_over
from owseg.data.datasets import open_dataset
from owseg.data.outliers import Outliers
from owseg.data.unlabeled import unlabeled_images
from owseg.data.void_class import with_background
from owseg.errors import OwsegError
from owseg.knowledge.base import Event, KnowledgeBase
from owseg.knowledge.calibration import calibrate, data_card, divide_val, fit_scorers
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
) -> KnowledgeBase:
    """Train on ``data``'s train split without the classes ``unknown``; choose and calibrate on its val split.

    One half of val chooses the weights and fits the scales of the score, the other half calibrates the threshold at
    ``fpr`` (see ``divide_val``). ``backbone`` is a name or path (see ``from_pretrained``) or a backbone; ``decoder``,
    ``width``, ``members``, ``classifier`` and ``scale`` are those of ``assemble``. ``size`` is the working size, by
    default the usual size of the training images, and ``scales`` are the factors of it at which the trained network
    looks at each image. With ``outliers`` it gets a negative class as well (see ``with_negative``). ``unlabeled`` are
    image files of other cameras and places, which show known classes and need no labels: the score is fitted to them as
    well (see ``fit_scorers``), and they are inliers of the negative class, so that less of another place is unknown.
    ``half`` rounds it to what 16-bit floats can hold, before anything is fitted to it, so that it can be stored in half
    the space. With ``background`` it has one more class, trained on what is void in the train split, and its
    probability is the score: a baseline. Else ``scorer`` is: with one that is not fitted, such as "msp", nothing is.
    Raises ``OwsegError`` for an unknown class that the data set does not have, and for a class called "unknown" or
    "void" that is not left out.
    """
    config = config or TrainConfig()
    labels = _known_classes(data, unknown)
    labels = labels.extend(BACKGROUND) if background else labels
    shown = None if outliers is None else outliers.unknown_to(labels)
    fitted_on = open_dataset(data, "train", labels, train=True)
    trained_on = replace(fitted_on, source=with_background(fitted_on.source)) if background else fitted_on
    choose, calibration = divide_val(open_dataset(data, "val", labels))
    photos = unlabeled_images(unlabeled, labels) if unlabeled else None
    torch.manual_seed(config.seed)
    body = from_pretrained(backbone) if isinstance(backbone, str) else backbone
    size = size or usual_size(fitted_on)
    network = assemble(body, len(labels), decoder, width, classifier, scale, size, scales, members)
    network = train(network, trained_on, choose, config, Path(run), resume)
    card: dict[str, Any] = {}
    if shown is not None:
        inliers = fitted_on if photos is None else joined(fitted_on, photos)
        network, ap = _with_negative(network, inliers, choose, shown, config, Path(run) / "negative", resume)
        card = {"outliers": shown.name, "objects": len(shown), "categories": shown.counts(), "val_ap": ap}
    if half:
        learned = [part for part in ("decoder", "classifier", "negative") if getattr(network, part) is not None]
        round_to_half(network, learned if config.mode == "frozen" else ("",))
    if photos is not None:
        card["unlabeled"] = data_card(photos)
    about = {
        "unknown": list(unknown), "backbone": Path(backbone).name if isinstance(backbone, str) else backbone.kind,
        "config": asdict(config), "val": {"images": len(choose), "calibrated_apart": choose is not calibration},
    }  # fmt: skip
    message = _message(fitted_on, shown, choose if choose is calibration else None)
    event = Event("train", message, {**data_card(trained_on), **card, **about})
    kb = KnowledgeBase(network, labels, history=(event,))
    fitted = _fitted(kb, fitted_on, choose, photos, "joint" if background else plain_name(scorer))
    return calibrate(fitted, calibration, fpr, scorer=BACKGROUND if background else scorer)


def _fitted(
    kb: KnowledgeBase, train: DataSet, held_out: DataSet, unlabeled: DataSet | None, name: str
) -> KnowledgeBase:
    """Return ``kb`` with the scorer ``name`` fitted, if it is a fitted one."""
    if name not in fitted_names():
        return kb
    return fit_scorers(kb, train, held_out=held_out, names=(name,), unlabeled=unlabeled)


def _known_classes(data: str, unknown: Sequence[str]) -> LabelSpace:
    """Return the classes of ``data`` less ``unknown``; raise ``OwsegError`` for fewer than two, or a reserved name."""
    everything = open_dataset(data, "train").labels
    labels = everything.without(unknown)
    if len(labels) < 2:
        raise OwsegError(f"{len(labels)} known classes are too few; leave out fewer of {', '.join(everything.names)}.")
    check_class_names(labels.names)
    return labels


def _message(data: DataSet, shown: Outliers | None, undivided: DataSet | None) -> str:
    """Return what the history says: on what it was trained, and where val was too small to be divided."""
    message = f"trained on {data.source.name} with {len(data.labels)} classes"
    message += f" and {len(shown)} outliers" if shown is not None else ""
    if undivided is not None:
        message += f"; val is too small to divide ({len(undivided)}), so it chose the weights and calibrates as well"
    return message


def _with_negative(
    network: Network, inliers: DataSet, val: DataSet, outliers: Outliers, config: TrainConfig, run: Path, resume: bool
) -> tuple[Network, float]:
    """Return ``network`` with a negative class, trained with the usual settings, and its AP on val."""
    # Where the images are few, a step takes them all.
    batch = min(NegativeConfig.batch, max(1, len(inliers) // config.devices))
    same = NegativeConfig(batch=batch, seed=config.seed, precision=config.precision, devices=config.devices)
    # A run that was stopped before this part has nothing to resume here.
    resume = resume and any(run.rglob("last.ckpt"))
    return with_negative(network, inliers, val, outliers, same, run, resume)


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
