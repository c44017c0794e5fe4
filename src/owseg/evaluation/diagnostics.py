"""What is wrong with a network, a threshold, data or shots, if it is: functions that return one sentence for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import ceil, isnan
from statistics import median

import numpy as np

from owseg.data.dataset import DataSet, divide, shared_images, spread_over
from owseg.evaluation.evaluate import Evaluation, evaluate
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.model import Model
from owseg.labels import IGNORE
from owseg.metrics.threshold import WIDTH
from owseg.openset import Threshold

MOST = 100
"""At most so many images of a data set are evaluated after a training, or asked for their sizes."""

FAR = 2.0
"""A share is far from the one that was asked for, and a size from that of the training, by more than this factor."""

LEAST_IOU = 0.2
"""Shots of which one is found with less than this by what the others show hardly show one class."""

MANY_SHOTS, LEAST_SHOTS = 10, 5
"""Of more shots than these, what is found of each is not listed, but of so many that are found least."""

ENOUGH_TO_ADAPT = 8
"""Images that move a threshold reliably (docs/unknown.md)."""


def of_evaluation(result: Evaluation, threshold: Threshold | None) -> list[str]:
    """Say which classes were never predicted, which scores are worse than chance, and where the threshold is off.

    A class counts that the ground truth shows. The share of known pixels above ``threshold`` is off where it is more
    than ``FAR`` times, or less than a ``FAR``-th of, what was asked for.
    """
    shown, predicted = result.iou.counts.sum(1) > 0, result.iou.counts.sum(0) > 0
    never = [name for name, is_never in zip(result.iou.names, shown & ~predicted, strict=True) if is_never]
    lines = []
    if never:
        lines.append(
            f"{', '.join(never)} of {result.data} {_is(never)} never predicted; train longer, or on more images of "
            f"{_it(never)}."
        )
    for name, metrics in result.scores.items():
        if metrics.auroc < 0.5:
            lines.append(
                f"{name} is lower on unknown than on known pixels of {result.data} (AUROC {metrics.auroc:.2f}); "
                "compare others with owseg evaluate --scorers all."
            )
    if threshold is not None and _is_far(result.known_fpr, threshold.target_fpr):
        lines.append(
            f"{result.known_fpr:.1%} of the known pixels of {result.data} are called unknown, not the "
            f"{threshold.target_fpr:.1%} that the threshold was found for; calibrate on images like these."
        )
    return lines


def of_threshold(threshold: Threshold | None) -> list[str]:
    """Say where a threshold was found on too few images for its rates, where none has the rate, and where it is binned.

    On fewer than 1 / rate images one image alone may hold all pixels that are allowed above it.
    """
    if threshold is None:
        return []
    lines = []
    asked = [(threshold.target_fpr, threshold.images, f"{threshold.target_fpr:.1%} of the known pixels")]
    if (regions := threshold.regions) is not None:
        asked.append((regions.target, regions.images, f"{regions.target:g} false alarms per image"))
    for rate, images, what in asked:
        if images < (enough := ceil(1 / rate - 1e-9)):
            lines.append(
                f"{what} on {images} image{'s' * (images > 1)} say little of others; calibrate on {enough} or more."
            )
    if threshold.achieved_fpr * FAR < threshold.target_fpr:
        lines.append(
            f"{threshold.achieved_fpr:.1%} of the known pixels lie above the threshold, not "
            f"{threshold.target_fpr:.1%}, as very many have the same score; calibrate another score."
        )
    return lines + of_histogram(threshold)


def of_histogram(threshold: Threshold | None) -> list[str]:
    """Say where a threshold is not exact, as there were more scores than are held."""
    if threshold is None or not threshold.binned:
        return []
    return [
        f"the threshold is from a histogram of {threshold.pixels:,} scores, more than are held: as few lie above it as "
        f"were asked for, and it is above the exact one by less than 1/{1 / WIDTH:,.0f} of its size."
    ]


def of_calibration(kb: KnowledgeBase, data: DataSet, threshold: Threshold | None) -> list[str]:
    """Say where ``data``, which ``threshold`` was found on, is that of the training, and what ``of_threshold`` says."""
    lines = of_threshold(threshold)
    if count := _trained_on(kb, data):
        lines.append(
            f"the network was trained on {_share(count, data)}, and is surer there than elsewhere, so that more is "
            "called unknown in other images; calibrate on images that it was not trained on."
        )
    return lines


def of_measured(kb: Model, data: DataSet) -> list[str]:
    """Say where ``data``, on which a network was evaluated, is what it was trained on."""
    if count := _trained_on(kb, data):
        return [
            f"the network was trained on {_share(count, data)}: these metrics are too good for any others; evaluate "
            "on images that it was not trained on."
        ]
    return []


def of_training(kb: KnowledgeBase, train: DataSet, val: DataSet) -> list[str]:
    """Say what is wrong with a network that was just trained: ``of_evaluation`` on ``val``, and ``of_threshold``.

    And how many images of ``val`` are among those of ``train``, whatever they are called.
    """
    lines = []
    if val.source.name != train.source.name and (same := shared_images(train, val)):
        lines.append(
            f"{same} of the {len(val)} images of {val.source.name} are also in {train.source.name}: what was measured "
            "and calibrated on them holds for no others; take them out of either."
        )
    lines += of_evaluation(evaluate(kb, spread_over(val, MOST)), kb.threshold)
    return lines + of_threshold(kb.threshold)


def of_fit(scorers: Sequence[str], has_val: bool) -> list[str]:
    """Say where ``joint`` was fitted without images that the network was not trained on (see ``fit_scorers``)."""
    if "joint" not in scorers or has_val:
        return []
    return ["joint was scaled on training images, of which a network is too sure; give data with a split val."]


def of_adaptation(images: int) -> list[str]:
    """Say where a threshold was moved to fewer than ``ENOUGH_TO_ADAPT`` images."""
    if images >= ENOUGH_TO_ADAPT:
        return []
    return [f"{images} images may differ by chance; {ENOUGH_TO_ADAPT} or more of the place are safer."]


def of_sizes(size: int | None, data: Sequence[tuple[int, int]]) -> list[str]:
    """Say how many images, by their (H, W), are ``FAR`` times larger or smaller than the working size of a network."""
    far = [] if size is None else [shape for shape in data if not 1 / FAR <= min(shape) / size <= FAR]
    if not far:
        return []
    sides = sorted(min(shape) for shape in far)
    return [
        f"{len(far)} of {len(data)} images have a shorter side of {_range(sides)} pixels, and the network was trained "
        f"at {size}: things in them have other sizes; resize them, or train with --size."
    ]


def of_shots(name: str, found: Mapping[str, float]) -> list[str]:
    """Say with which IoU each shot of the class ``name`` is found by what the others show, and whether they disagree.

    ``found`` is what ``left_out_iou`` returns, by the id of the shot; of one shot it is empty. Of more than
    ``MANY_SHOTS``, those that are found least, and the median.
    """
    if not found:
        return [f"{name} was learned from one shot, which cannot be checked; with two or more each checks the others."]
    if len(found) > MANY_SHOTS:
        iou = {shot: 0.0 if isnan(value) else value for shot, value in found.items()}
        least = ", ".join(f"{iou[shot]:.2f} ({shot})" for shot in sorted(iou, key=lambda shot: iou[shot])[:LEAST_SHOTS])
        return [
            f"learned without a fifth of them at a time, half of the {len(iou)} shots of {name} are found with an IoU "
            f"of {median(iou.values()):.2f} or more; with the least: {least}. Look at the masks of these."
        ]
    numbers = ", ".join(f"{iou:.2f} ({shot})" for shot, iou in found.items())
    lines = [f"learned without it, each shot of {name} is found with an IoU of {numbers}."]
    if odd := [shot for shot, iou in found.items() if isnan(iou) or iou < LEAST_IOU]:
        lines.append(
            f"the shots of {name} disagree: {', '.join(odd)} {_is(odd)} hardly found by what the "
            "others show; correct the masks, or leave out what shows another thing."
        )
    return lines


def sizes_of(data: DataSet) -> list[tuple[int, int]]:
    """Return (H, W) of at most ``MOST`` images of ``data``, evenly spread."""
    return [(s.image.shape[1], s.image.shape[2]) for s in spread_over(data, MOST)]


def _trained_on(kb: Model, data: DataSet) -> int:
    """Return how many images of ``data`` the network was trained on: all, all but a share that was its val, or 0.

    The training data is known by its fingerprint, so that neither name nor place matters.
    """
    trained = next((event.details for event in kb.history if event.action == "train"), {})
    known = replace(data, labels=kb.labels.without(kb.learned_classes), unknown_as=IGNORE)
    match trained:
        case {"val_share": float(share), "config": {"seed": int(seed)}}:
            with suppress(ValueError):  # too few images to be divided so; OwsegError is one, as that of a seed below 0
                known, _ = divide(known, share, seed)
    same = trained.get("images") == len(known) and known.fingerprint() == trained.get("fingerprint")
    return len(known) if same else 0


def _share(count: int, data: DataSet) -> str:
    return f"{'the' if count == len(data) else f'{count} of the {len(data)}'} images of {data.source.name}"


def _is_far(value: float, asked: float) -> bool:
    return bool(np.isfinite(value)) and not asked / FAR <= value <= asked * FAR


def _is(names: Sequence[str]) -> str:
    return "are" if len(names) > 1 else "is"


def _it(names: Sequence[str]) -> str:
    return "them" if len(names) > 1 else "it"


def _range(sides: Sequence[int]) -> str:
    return str(sides[0]) if sides[0] == sides[-1] else f"{sides[0]} to {sides[-1]}"
