"""What is counted to evaluate a knowledge base: image by image, and mergeable, so that processes share the work."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

import numpy as np

from owseg.data.dataset import DataSet, Labelled
from owseg.errors import OwsegError
from owseg.evaluation.skipped import Skipped, skipping
from owseg.knowledge.model import Model
from owseg.knowledge.prediction import Assessment
from owseg.labels import KNOWN, UNKNOWN
from owseg.metrics.iou import IoU
from owseg.metrics.pixel import PixelMetrics
from owseg.metrics.pooled import Pooled
from owseg.models.over_images import over_images
from owseg.types import Forward, Output, Sample


class Accumulator(Protocol):
    """What collects a score image by image: ``Exact``, ``Binned``, ``PerImage`` or ``Pooled``."""

    def update(self, score: np.ndarray, target: np.ndarray) -> None:
        """Add one image."""
        ...

    def compute(self) -> PixelMetrics:
        """Return the metrics of everything added so far."""
        ...


Assessed: TypeAlias = tuple[Assessment, np.ndarray] | Skipped
"""Closed map and scores of an image, and its ground truth (H, W): ids of the known classes, then of the unknown."""


@dataclass(frozen=True, eq=False)
class Counts:
    """What was counted of some images; ``a += b`` adds those of ``b`` after those of ``a``.

    ``iou`` is that of the closed map. ``predicted`` (256,) int64 is, by id of the ground truth, the number of pixels
    that are called unknown, and ``total`` that of all pixels; both stay 0 without a threshold. ``scores`` are the
    accumulators by the name of the score, which are updated in place. ``skipped`` says by the name of an image why it
    was not counted.
    """

    iou: IoU
    predicted: np.ndarray
    total: np.ndarray
    scores: Mapping[str, Any] = field(repr=False)  # Any: accumulators differ in what they offer beside ``compute``
    skipped: Mapping[str, str] = field(default_factory=dict)

    def __iadd__(self, other: Counts) -> Counts:
        scores = dict(self.scores)
        for name, state in other.scores.items():
            scores[name] += state
        predicted, total = self.predicted + other.predicted, self.total + other.total
        return Counts(self.iou + other.iou, predicted, total, scores, {**self.skipped, **other.skipped})

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return them as arrays, as ``from_arrays`` reads them."""
        scores = {f"{name}/{key}": a for name, state in self.scores.items() for key, a in state.to_arrays().items()}
        skipped = np.frombuffer(json.dumps(self.skipped).encode(), np.uint8)
        return {"iou": self.iou.counts, "predicted": self.predicted, "total": self.total, "skipped": skipped, **scores}

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> Counts:
        """Return the counts that ``to_arrays`` wrote, of the same kind as these; raise ``KeyError`` for any others."""
        scores = {}
        for name, state in self.scores.items():
            own = {k.removeprefix(f"{name}/"): a for k, a in arrays.items() if k.startswith(f"{name}/")}
            scores[name] = state.from_arrays(own)
        iou = replace(self.iou, counts=arrays["iou"])
        skipped = json.loads(arrays["skipped"].tobytes())
        return Counts(iou, arrays["predicted"], arrays["total"], scores, skipped)


class Evaluator:
    """Counts, image by image, what evaluates a knowledge base; for callers that have the network's outputs, too."""

    def __init__(
        self,
        kb: Model,
        data: DataSet,
        scorers: Sequence[str] | None = None,
        metric: Callable[[], Accumulator] | None = None,
    ) -> None:
        if data.labels.names != kb.labels.names:
            raise OwsegError("the data set has other labels than the knowledge base; open it against kb.labels.")
        for name in scorers or ():  # before the network is run
            kb.require_scorer(name)
        # Every unknown class gets an id of its own, beyond the known ones, so that each can be counted.
        everything = kb.labels
        for name in data.unknown_classes():
            everything = everything.extend(name)
        # Ground truth is read in the source's own ids, so that evaluators of several stages can share one reading.
        self.kb, self.data, self._raw = kb, data, DataSet(data.source, data.source.classes)
        self.names, self._table = everything.names, everything.lookup(data.source.classes)
        self._wanted, self._metric = tuple(scorers or (kb.scorer,)), metric or Pooled
        self.counts = self.empty()

    def of(self, kb: Model, data: DataSet) -> Evaluator:
        """Return an evaluator of the same scores, before its first image."""
        return Evaluator(kb, data, self._wanted, self._metric)

    def empty(self) -> Counts:
        """Return the counts before the first image."""
        predicted, total = np.zeros((2, 256), np.int64)
        return Counts(IoU.of(self.kb.labels.names), predicted, total, {name: self._metric() for name in self._wanted})

    def over(self, forward: Forward) -> Iterator[Assessed]:
        """Yield what ``update`` takes of each image."""
        return over_images(forward, self.samples, self.assess, skipping(self.data))

    @property
    def samples(self) -> Labelled:
        """The images, and their ground truth in the ids of the source: the same for every knowledge base."""
        return Labelled(self._raw, "evaluation")

    def assess(
        self, sample: Sample, output: Output, scores: Mapping[str, np.ndarray] = MappingProxyType({})
    ) -> tuple[Assessment, np.ndarray]:
        """Return what ``update`` takes of one of ``samples`` and its output; several threads may call it.

        ``scores`` are those of the output that are there already.
        """
        classes = self._table[sample.mask_for("evaluation")]
        names = tuple({*self._wanted, self.kb.scorer})  # the open-set map needs its score, measured or not
        return self.kb.assess(output, (classes.shape[0], classes.shape[1]), names, scores), classes

    def update(self, found: Assessed) -> None:
        """Add one image to ``counts``, as ``assess`` returned it."""
        self.counts = self.added(self.counts, found)

    def added(self, counts: Counts, found: Assessed) -> Counts:
        """Return ``counts`` with one image added, as ``assess`` returned it; their ``scores`` are updated in place."""
        if isinstance(found, Skipped):
            return replace(counts, skipped={**counts.skipped, found.image: found.why})
        assessed, classes = found
        known = len(self.kb.labels)
        # Ids between the known classes and KNOWN are those of the unknown classes.
        target = np.where((classes >= known) & (classes < KNOWN), UNKNOWN, classes).astype(np.uint8)
        predicted, total = counts.predicted, counts.total
        for name in assessed.scores:
            score = assessed.decided(name)
            if name in counts.scores:
                counts.scores[name].update(score, target)
            if name == self.kb.scorer and self.kb.threshold is not None:
                unknown = score > np.float32(self.kb.threshold.value)  # float32, as when the threshold was found
                predicted = predicted + np.bincount(classes[unknown], minlength=256)
                total = total + np.bincount(classes.ravel(), minlength=256)
        return replace(counts, iou=counts.iou.update(assessed.labels, target), predicted=predicted, total=total)
