"""Measuring on labelled images: closed-set IoU, anomaly scores, the open-set map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import isnan
from typing import Any

import numpy as np
import torch

from owseg._files import json_ready
from owseg._progress import track
from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.labels import KNOWN, UNKNOWN
from owseg.metrics.iou import IoU, harmonic
from owseg.metrics.pixel import Exact, PerImage, PixelFigures
from owseg.models.ops import resize
from owseg.types import Forward, ImageScorer, Output

Rows = list[tuple[str, ...]]


@dataclass(frozen=True)
class Evaluation:
    """What was measured on ``images`` images of ``data``.

    ``iou`` is that of the closed map, learned classes included (``learned`` names them). ``scores`` holds AUROC, AP and
    FPR95 by scorer, pixels that a learned class claims counting as least anomalous. ``unknown_recall`` and
    ``known_fpr`` are the shares of unknown and of known pixels that the open-set map calls unknown; NaN without a
    threshold. ``states`` are the accumulators behind ``scores``, to draw curves from or to merge. ``called`` counts by
    class of the data, known and unknown ones, the pixels that the open-set map calls unknown, and all of them.
    """

    data: str
    images: int
    iou: IoU
    scores: dict[str, PixelFigures]
    unknown_recall: float
    known_fpr: float
    learned: tuple[str, ...]
    states: dict[str, Any]
    called: dict[str, tuple[int, int]]

    @property
    def protocol(self) -> str:
        """How the scores were measured, in words."""
        state = next(iter(self.states.values()))
        how = "mean over images that show both" if isinstance(state, PerImage) else "pixels pooled"
        return f"{how}, void left out, FPR at the {getattr(state, 'operating_point', 'first')} recall of .95"

    @property
    def old(self) -> tuple[str, ...]:
        """The names of the classes that the network was trained for."""
        return tuple(n for n in self.iou.names if n not in self.learned)

    def summary(self) -> dict[str, float]:
        """Return the figures that sum it up: mIoU old, novel, all, harmonic; what the threshold does."""
        old, novel = self.iou.mean(self.old), self.iou.mean(self.learned)
        return {
            "miou": self.iou.mean(),
            "miou_old": old,
            "miou_novel": novel,
            "miou_harmonic": harmonic(old, novel),
            "unknown_found": self.unknown_recall,
            "known_lost": self.known_fpr,
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON; what is undefined is null."""
        scores = {n: {f.name: getattr(s, f.name) for f in fields(s)} for n, s in self.scores.items()}
        value = {
            "data": self.data,
            "images": self.images,
            "protocol": self.protocol,
            "summary": self.summary(),
            "iou": self.iou.per_class(),
            "absent": list(self.iou.empty()),
            "scores": scores,
        }
        return json_ready(value)

    def tables(self) -> list[tuple[str, tuple[str, ...], Rows]]:
        """Return (title, header, rows) of text, for people."""
        classes: Rows = [(n, "learned" if n in self.learned else "", _text(v)) for n, v in self.iou.per_class().items()]
        scores: Rows = [(n, _text(s.auroc), _text(s.ap), _text(s.fpr95)) for n, s in self.scores.items()]
        names = {
            "miou": "mIoU, all known classes",
            "miou_old": "mIoU, classes trained",
            "miou_novel": "mIoU, classes learned",
            "miou_harmonic": "harmonic mean of the two",
            "unknown_found": "unknown pixels called unknown",
            "known_lost": "known pixels called unknown",
        }
        sums: Rows = [(names[k], _text(v)) for k, v in self.summary().items() if not isnan(v)]
        where = f"{self.data}, {self.images} images"
        judged = not isnan(self.iou.mean())  # a set that knows only anomalies shows no class
        return [
            *([(f"IoU per class ({where})", ("class", "", "IoU"), classes)] if judged else []),
            (
                f"How well a score finds the unknown ({where}; {self.protocol})",
                ("score", "AUROC", "AP", "FPR95"),
                scores,
            ),
            ("In sum", ("", ""), sums),
        ]


def evaluate(
    kb: KnowledgeBase,
    data: DataSet,
    scorers: Sequence[str] | None = None,
    metric: Callable[[], Any] = Exact,
    forward: Forward | None = None,
) -> Evaluation:
    """Measure ``kb`` on ``data``, which must be opened against ``kb.labels``; by default its own scorer alone.

    ``metric`` makes the accumulator for each score: ``Exact``, ``Binned`` or ``PerImage`` (see
    ``owseg.metrics.pixel``). ``forward`` is by default ``kb.forward``. Raises ``OwsegError`` for data without truth or in
    other labels.
    """
    forward = forward or kb.forward
    tally = Evaluator(kb, data, scorers, metric)
    for i in track(range(len(data)), "evaluating", len(data)):
        image, truth = tally.read(i)
        tally.update(forward(image), truth)
    return tally.result()


def evaluate_image_scorers(
    scorers: Mapping[str, ImageScorer], data: DataSet, metric: Callable[[], Any] = Exact
) -> dict[str, PixelFigures]:
    """Return by name how well scores find what is UNKNOWN in ``data``, opened against the known classes.

    For what is no function of a network's output: see ``owseg.baselines`` and ``owseg.models.mask_classifiers``.
    ``metric`` is as for ``evaluate``. Raises ``OwsegError`` for a frame without a mask.
    """
    states = {name: metric() for name in scorers}
    for sample in track(data, "evaluating", len(data)):
        if sample.target is None:
            raise OwsegError(f"{sample.id} has no mask; evaluation needs one for every image.")
        for name, scorer in scorers.items():
            score = torch.from_numpy(scorer(sample.image))[None, None]
            states[name].update(resize(score, sample.target.shape)[0, 0].numpy(), sample.target)
    return {name: state.compute() for name, state in states.items()}


class Evaluator:
    """What ``evaluate`` counts, image by image, for a caller who has the network's outputs already."""

    def __init__(
        self,
        kb: KnowledgeBase,
        data: DataSet,
        scorers: Sequence[str] | None = None,
        metric: Callable[[], Any] = Exact,
    ) -> None:
        if data.labels.names != kb.labels.names:
            raise OwsegError("the data set speaks other labels than the knowledge base; open it against kb.labels.")
        everything = kb.labels
        for name in data.unknown_classes():
            everything = everything.extend(name)
        self.kb, self.data, self._raw = kb, data, DataSet(data.source, data.source.classes)
        self._names, self._table = everything.names, everything.lookup(data.source.classes)
        self._iou, self._called, self._total = IoU.of(kb.labels.names), *np.zeros((2, 256), np.int64)
        self._states = {name: metric() for name in scorers or (kb.scorer,)}

    def read(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return frame ``i`` and its truth in the ids of the source, the same for every knowledge base."""
        sample = self._raw[i]
        if sample.target is None:
            raise OwsegError(f"{sample.id} has no mask; evaluation needs one for every image.")
        return sample.image, sample.target

    def update(self, output: Output, truth: np.ndarray) -> None:
        """Add one image: what the network made of it, and its truth as ``read`` gives it."""
        truth = self._table[truth]  # in which every unknown class has an id of its own, beyond the known ones
        size, known = (truth.shape[0], truth.shape[1]), len(self.kb.labels)
        target = np.where((truth >= known) & (truth < KNOWN), UNKNOWN, truth).astype(np.uint8)
        names = tuple({*self._states, self.kb.scorer})
        assessed = self.kb.assess(output, size, names)
        self._iou = self._iou.update(assessed.labels, target)
        for name in names:
            score = assessed.decided(name)
            if name in self._states:
                self._states[name].update(score, target)
            if name == self.kb.scorer and self.kb.threshold is not None:
                above = score > np.float32(self.kb.threshold.value)
                self._called += np.bincount(truth[above], minlength=256)
                self._total += np.bincount(truth.ravel(), minlength=256)

    def result(self) -> Evaluation:
        """Return the figures so far."""
        names, known = self._names, len(self.kb.labels)
        every = np.stack([self._called, self._total])
        counts = every[:, : len(names)]
        lost, found = counts[:, :known].sum(1) + every[:, KNOWN], counts[:, known:].sum(1)
        return Evaluation(
            self.data.source.name,
            len(self.data),
            self._iou,
            {name: state.compute() for name, state in self._states.items()},
            _share(found),
            _share(lost),
            self.kb.labels.names[self.kb.network.num_classes :],
            self._states,
            {name: (int(c), int(t)) for name, c, t in zip(names, *counts, strict=True)},
        )


def _share(called: Sequence[int]) -> float:
    return float(called[0] / called[1]) if called[1] else float("nan")


def _text(value: float) -> str:
    return "–" if isnan(value) else f"{value:.3f}"
