"""Calibration: the threshold, and the scorers that are fitted to labelled images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from owseg._progress import track
from owseg.data.dataset import DataSet, Labelled, joined
from owseg.errors import OwsegError
from owseg.knowledge.alarms import FALSE_ALARMS, check_alarms, region_threshold
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.event import Event
from owseg.knowledge.regions import min_area_of
from owseg.knowledge.tasks import scorer_for
from owseg.labels import IGNORE, UNKNOWN
from owseg.metrics.pooled import EXACT_PIXELS
from owseg.metrics.threshold import threshold_at_fpr
from owseg.models.cache import CachedForward
from owseg.models.ops import closed_map_at
from owseg.models.over_images import over_images
from owseg.openset import Reference, Threshold, check_enough, check_fpr, check_method, quantiles
from owseg.scorers import SCORERS, fitted_names, plain_name, whole_image
from owseg.scorers.base import FittedScorer
from owseg.scorers.road import OnRoad
from owseg.types import Forward, Output, Sample

LEAST_HALF = 5
"""Fewer images than this are too few to calibrate on (see ``divide_val``)."""


def find_threshold(
    kb: KnowledgeBase,
    data: DataSet,
    fpr: float = 0.05,
    method: str = "quantile",
    scorer: str | None = None,
    forward: Forward | None = None,
    false_alarms: float | None = None,
    marked: DataSet | None = None,
) -> Threshold:
    """Return the threshold of ``scorer`` at which a share ``fpr`` of ``data``'s known pixels is predicted unknown.

    ``data`` is opened against ``kb.labels``; its unknown and void pixels are left out, and an image without a mask
    counts as wholly known. Pixels of a learned class are never unknown, so they count as lying below. ``method`` is
    "quantile" or "conformal" (see ``threshold_at_fpr``). With ``false_alarms``, so many per image are asked of the
    threshold of regions as well (see ``region_threshold``). ``reference`` is that of all pixels. Of a score on the road
    the pixels on the road count alone, and the reference is of the score over the whole image. ``forward`` is by
    default ``kb.engine()``.

    ``marked`` are images in which a reviewer marked false alarms as known, all else void (see ``known_regions``). Their
    pixels and regions count besides those of ``data``, which raises the thresholds where they score high. As they were
    chosen for their scores, they are no sample of anything: they are never alone, have no part in the reference, and
    are refused with "conformal".

    Up to ``EXACT_PIXELS`` pixels all maps are held, 10 bytes a pixel. Of more known pixels the threshold is ``binned``;
    of more pixels the maps are found again to find regions in them, by a second pass over all images. Raises
    ``OwsegError`` for what is refused, a scorer that ``kb`` does not have, and where no pixel is known.
    """
    if marked is not None and method == "conformal":
        raise OwsegError("a conformal bound needs images that nobody chose by their scores; leave marked regions out.")
    name = scorer or kb.scorer
    kb.require_scorer(name)
    # Before the network is run; an image without a known pixel is left out later, so fewer may remain.
    check_fpr(fpr)
    check_method(method)
    check_enough(len(data), fpr, method)
    if false_alarms is not None:
        check_alarms(false_alarms, method)
        check_enough(len(data), false_alarms, method)
    scores: list[np.ndarray] = []
    find = partial(_known_scores, kb, data, marked, name, forward or kb.engine(), scores)
    # Regions are found in whole maps, at a threshold that is found by all of them.
    maps = _Kept(find, EXACT_PIXELS if false_alarms is not None else 0)
    threshold = threshold_at_fpr(((m.score, m.counted) for m in maps), fpr, method, EXACT_PIXELS)
    threshold = replace(threshold, reference=Reference.of(scores))
    if false_alarms is None:
        return threshold
    known = ((m.score, m.known) for m in maps)
    return replace(threshold, regions=region_threshold(known, threshold, false_alarms, method, min_area_of(name)))


def calibrate(
    kb: KnowledgeBase,
    data: DataSet,
    fpr: float = 0.05,
    method: str = "quantile",
    scorer: str | None = None,
    false_alarms: float | None = FALSE_ALARMS,
    task: str = "unknown",
    marked: DataSet | None = None,
) -> KnowledgeBase:
    """Return ``kb`` with ``scorer`` as its score and the threshold that ``find_threshold`` finds for it on ``data``.

    For the ``task`` "obstacles" it is that of the score in use on the road, stored beside the other (see ``for_task``).
    With ``false_alarms`` it has a threshold of regions as well, at which so many false regions are found per image (see
    ``region_threshold``). ``marked`` is that of ``find_threshold``. Raises ``OwsegError`` as these do.

    The rate carries over to other images like these only if these had no part in training the network, in fitting the
    scorer or in choosing it: use a split of its own (see ``divide_val``). "conformal" then bounds the mean over such
    images by ``fpr``; the rate of a single image may be higher.
    """
    name = scorer_for(kb, task, scorer)
    threshold = find_threshold(kb, data, fpr, method, name, false_alarms=false_alarms, marked=marked)
    message = f"calibrated {name} at {fpr:.1%} false positives ({method})"
    if false_alarms is not None:
        message += f", {false_alarms:g} false alarms per image"
    if threshold.binned:
        message += ", from a histogram of the scores"
    card: dict[str, Any] = data_card(data)
    if marked is not None:
        message += f", with {marked.source.name}"
        card["marked"] = data_card(marked)
    event = Event("calibrate", message, {**card, "scorer": name, **threshold.to_json()})
    if task != "unknown":
        return kb.after(event, obstacles=threshold)
    # The threshold of obstacles is of the score that was in use.
    return kb.after(event, scorer=name, threshold=threshold, obstacles=kb.obstacles if name == kb.scorer else None)


def divide_val(val: DataSet) -> tuple[DataSet, DataSet]:
    """Return every second image of ``val``, to choose weights and fit scales by, and the others, to calibrate on.

    A threshold keeps its promise on images that had no part in choosing the score that it is the threshold of. Where a
    half would have fewer than ``LEAST_HALF`` images, both are ``val`` itself.
    """
    if len(val) // 2 < LEAST_HALF:
        return val, val
    return val.pick(range(0, len(val), 2)), val.pick(range(1, len(val), 2))


def fit_scorers(
    kb: KnowledgeBase,
    data: DataSet,
    names: Sequence[str] = ("joint",),
    held_out: DataSet | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    unlabeled: DataSet | None = None,
) -> KnowledgeBase:
    """Return ``kb`` with the fitted scorers ``names`` (see ``fitted_names``), fitted on labelled images.

    ``data`` are images that the network was trained on, ``held_out`` others: the network is far more confident on what
    it was trained on, which would give its confidence too much weight in "joint". ``unlabeled`` are images of other
    cameras and places, to which they are fitted in the network's own labels (see ``in_own_labels``): what varies from
    place to place is then less of a distance. ``options`` are those of a scorer's card by the name of the scorer, such
    as {"knn": {"k": 5}}. A scorer that ``kb`` has already is fitted anew, which removes the threshold if it is the one
    in use, or a part of it; others stay. Raises ``OwsegError`` for a scorer that is not fitted, an image without a
    mask, and where nothing is labelled.
    """
    for name in names:
        if name not in fitted_names():
            raise OwsegError(f"there is no fitted scorer {name!r}; it is one of {', '.join(fitted_names())}.")
    # Shared by all scorers, and by the two passes that joint takes over its data.
    forward, device = CachedForward(kb.engine()), kb.engine().device
    train = _Outputs(data, forward)
    others = None if held_out is None else _Outputs(held_out, forward)
    if unlabeled is not None:
        train = _Outputs(joined(data, in_own_labels(kb, unlabeled)), forward)
    fitted: dict[str, FittedScorer] = {}
    for name in names:
        scorer = SCORERS.make(name, kb.network, **(options or {}).get(name, {}))
        assert isinstance(scorer, FittedScorer)
        fitted[name] = scorer.to(device).fit(train, others)
    details = {**data_card(data), **({} if held_out is None else {"held_out": data_card(held_out)})}
    message = f"fitted {', '.join(names)} on {data.source.name}"
    if unlabeled is not None:
        details["unlabeled"] = data_card(unlabeled)
        message += f" and {len(unlabeled)} images without labels"
    event = Event("fit", message, details)
    # The scale of a score that is fitted anew is another, and so would be the meaning of its threshold.
    changed = {*fitted, *(part for scorer in fitted.values() for part in scorer.parts())}
    thresholds = {"threshold": None, "obstacles": None} if plain_name(kb.scorer) in changed else {}
    return kb.after(event, fitted={**kb.fitted, **fitted}, **thresholds)


def in_own_labels(kb: KnowledgeBase, images: DataSet) -> DataSet:
    """Return ``images`` with the closed map that the network of ``kb`` predicts as their ground truth.

    So scorers can be fitted where nothing is labelled: to the features of what the network takes for each class, which
    for most pixels it is. What is unknown in the images is then taken for known, so give images that show little of it.
    """

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        image, _ = images.source.read(i)
        labels = closed_map_at(kb.forward(image).logits, (image.shape[1], image.shape[2]))
        return image, labels[0].to(torch.uint8).cpu().numpy()

    source = replace(images.source, classes=kb.labels, read=read)
    return DataSet(source, kb.labels)


def data_card(data: DataSet) -> dict[str, str | int]:
    """Return what a history keeps of a data set: its name, how many images, the fingerprint of pixels and targets."""
    return {"data": data.source.name, "images": len(data), "fingerprint": data.fingerprint()}


@dataclass(frozen=True)
class _Outputs:
    """The outputs and targets (1, H, W) of a data set, as often as they are iterated."""

    data: DataSet
    forward: Forward

    def __iter__(self) -> Iterator[tuple[Output, Tensor]]:
        yield from track(
            over_images(self.forward, Labelled(self.data, "a fit"), _with_target), "fitting", len(self.data)
        )


def _with_target(sample: Sample, output: Output) -> tuple[Output, Tensor]:
    target = sample.mask_for("a fit")
    # A fit is to known pixels only, whatever else the data set labels.
    return output, torch.from_numpy(np.where(target == UNKNOWN, IGNORE, target))[None]


@dataclass(frozen=True, eq=False)
class _Map:
    """The score of an image (H, W), where it is ``known``, and which of these pixels are ``counted`` in a rate."""

    score: np.ndarray
    known: np.ndarray
    counted: np.ndarray


@dataclass
class _Kept:
    """What ``find`` yields, as often as it is iterated: kept up to ``limit`` pixels, of more found again each time."""

    find: Callable[[], Iterator[_Map]]
    limit: int
    maps: list[_Map] | None = None

    def __iter__(self) -> Iterator[_Map]:
        if self.maps is not None:
            yield from self.maps
            return
        kept, pixels = [], 0
        for found in self.find():
            pixels += found.score.size
            if pixels <= self.limit:
                kept.append(found)
            else:
                kept.clear()
            yield found
        if pixels <= self.limit:
            self.maps = kept


def _known_scores(
    kb: KnowledgeBase, data: DataSet, marked: DataSet | None, scorer: str, forward: Forward, scores: list[np.ndarray]
) -> Iterator[_Map]:
    """Yield the map of each image of ``data``, then of ``marked``.

    ``scores`` gets the ``quantiles`` of the score over the whole image, of each of ``data``.
    """
    whole = whole_image(scorer)
    names = tuple(dict.fromkeys((scorer, whole)))

    def map_of(sample: Sample, output: Output) -> tuple[_Map, np.ndarray]:
        # All below UNKNOWN is known: the classes, and KNOWN, whose class is not given.
        known = np.ones(sample.image.shape[1:], bool) if sample.target is None else sample.target < UNKNOWN
        size = (known.shape[0], known.shape[1])
        assessed = kb.assess(output, size, names)
        score = kb.scorers[scorer]
        counted = known & score.hulls(output, size)[0] if isinstance(score, OnRoad) else known
        return _Map(assessed.decided(scorer), known, counted), quantiles(assessed.scores[whole])

    for found, of_image in track(over_images(forward, data, map_of), "calibrating", len(data)):
        scores.append(of_image)
        yield found
    if marked is not None:
        for found, _ in track(over_images(forward, marked, map_of), "calibrating", len(marked)):
            yield found
