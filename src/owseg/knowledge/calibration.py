"""Calibration: the threshold, and the scorers that are fitted to labelled images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from owseg._progress import track
from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.knowledge.alarms import FALSE_ALARMS, region_threshold
from owseg.knowledge.base import Event, KnowledgeBase
from owseg.labels import IGNORE, UNKNOWN
from owseg.models.engine import CachedForward
from owseg.models.ops import resize
from owseg.openset import Reference, Threshold, closed_map, quantiles, threshold_at_fpr
from owseg.scorers import SCORERS, fitted_names, plain_name
from owseg.scorers.base import FittedScorer
from owseg.types import Forward, Output

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
) -> Threshold:
    """Return the threshold of ``scorer`` at which a share ``fpr`` of ``data``'s known pixels is predicted unknown.

    ``data`` is opened against ``kb.labels``; its unknown and void pixels are left out, and an image without a mask
    counts as wholly known. Pixels of a learned class are never unknown, so they count as lying below. ``method`` is
    "quantile" or "conformal" (see ``threshold_at_fpr``). With ``false_alarms``, so many per image are asked of the
    threshold of regions as well (see ``region_threshold``). ``reference`` is that of all pixels. ``forward`` is by
    default ``kb.forward``. Raises ``OwsegError`` for a scorer that ``kb`` does not have, where no pixel is known, and
    for what ``threshold_at_fpr`` refuses.
    """
    name = scorer or kb.scorer
    kb.require_scorer(name)
    scores: list[np.ndarray] = []
    maps: Iterable[tuple[np.ndarray, np.ndarray]] = _known_scores(kb, data, name, forward or kb.forward, scores)
    if false_alarms is not None:
        maps = list(maps)  # regions are found in whole maps, at many thresholds
    threshold = threshold_at_fpr(maps, fpr, method)
    regions = None if false_alarms is None else region_threshold(maps, threshold, false_alarms, method)
    return replace(threshold, reference=Reference.of(scores), regions=regions)


def calibrate(
    kb: KnowledgeBase,
    data: DataSet,
    fpr: float = 0.05,
    method: str = "quantile",
    scorer: str | None = None,
    false_alarms: float | None = FALSE_ALARMS,
) -> KnowledgeBase:
    """Return ``kb`` with ``scorer`` as its score and the threshold that ``find_threshold`` finds for it on ``data``.

    With ``false_alarms`` it has a threshold of regions as well, at which so many false regions are found per image (see
    ``region_threshold``).

    The rate carries over to other images like these only if these had no part in training the network, in fitting the
    scorer or in choosing it: use a split of its own (see ``divide_val``). "conformal" then bounds the mean over such
    images by ``fpr``; the rate of a single image may be higher.
    """
    name = scorer or kb.scorer
    threshold = find_threshold(kb, data, fpr, method, name, false_alarms=false_alarms)
    message = f"calibrated {name} at {fpr:.1%} false positives ({method})"
    if false_alarms is not None:
        message += f", {false_alarms:g} false alarms per image"
    details = {**data_card(data), "scorer": name, **threshold.to_json()}
    return kb.after(Event("calibrate", message, details), scorer=name, threshold=threshold)


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
) -> KnowledgeBase:
    """Return ``kb`` with the fitted scorers ``names`` (see ``fitted_names``), fitted on labelled images.

    ``data`` are images that the network was trained on, ``held_out`` others: the network is far more confident on what
    it was trained on, which would give its confidence too much weight in "joint". ``options`` are those of a scorer's
    card by the name of the scorer, such as {"knn": {"k": 5}}. A scorer that ``kb`` has already is fitted anew, which
    removes the threshold if it is the one in use, or a part of it; others stay. Raises ``OwsegError`` for a scorer that
    is not fitted, an image without a mask, and where nothing is labelled.
    """
    for name in names:
        if name not in fitted_names():
            raise OwsegError(f"there is no fitted scorer {name!r}; it is one of {', '.join(fitted_names())}.")
    # Shared by all scorers, and by the two passes that joint takes over its data.
    forward = CachedForward(kb.forward)
    train = _Outputs(data, forward)
    others = None if held_out is None else _Outputs(held_out, forward)
    fitted: dict[str, FittedScorer] = {}
    for name in names:
        scorer = SCORERS.make(name, kb.network, **(options or {}).get(name, {}))
        assert isinstance(scorer, FittedScorer)
        fitted[name] = scorer.fit(train, others)
    details = {**data_card(data), **({} if held_out is None else {"held_out": data_card(held_out)})}
    event = Event("fit", f"fitted {', '.join(names)} on {data.source.name}", details)
    # The scale of a score that is fitted anew is another, and so would be the meaning of its threshold.
    changed = {*fitted, *(part for scorer in fitted.values() for part in scorer.parts())}
    threshold = None if plain_name(kb.scorer) in changed else kb.threshold
    return kb.after(event, fitted={**kb.fitted, **fitted}, threshold=threshold)


def in_own_labels(kb: KnowledgeBase, images: DataSet) -> DataSet:
    """Return ``images`` with the closed map that the network of ``kb`` predicts as their ground truth.

    So scorers can be fitted where nothing is labelled: to the features of what the network takes for each class, which
    for most pixels it is. What is unknown in the images is then taken for known, so give images that show little of it.
    """

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        image, _ = images.source.read(i)
        logits = resize(kb.forward(image).logits, (image.shape[1], image.shape[2]))
        return image, closed_map(logits)[0].to(torch.uint8).cpu().numpy()

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
        for sample in track(self.data, "fitting", len(self.data)):
            if sample.target is None:
                raise OwsegError(f"{sample.id} has no mask; scorers are fitted on labelled images.")
            # A fit is to known pixels only, whatever else the data set labels.
            target = np.where(sample.target == UNKNOWN, IGNORE, sample.target)
            yield self.forward(sample.image), torch.from_numpy(target)[None]


def _known_scores(
    kb: KnowledgeBase, data: DataSet, scorer: str, forward: Forward, scores: list[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield what ``threshold_at_fpr`` reads, and add the ``quantiles`` of each image's score to ``scores``."""
    for sample in track(data, "calibrating", len(data)):
        # All below UNKNOWN is known: the classes, and KNOWN, whose class is not given.
        known = np.ones(sample.image.shape[1:], bool) if sample.target is None else sample.target < UNKNOWN
        assessed = kb.assess(forward(sample.image), (known.shape[0], known.shape[1]), (scorer,))
        scores.append(quantiles(assessed.scores[scorer]))
        yield assessed.decided(scorer), known
