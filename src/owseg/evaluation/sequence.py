"""Evaluation of a knowledge base after each class of the sequence that it learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan
from typing import Any

import numpy as np

from owseg._files import json_ready
from owseg._progress import track
from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.evaluation.evaluate import Evaluation, Rows, evaluation_of, number, share
from owseg.evaluation.evaluator import Accumulator, Assessed, Evaluator
from owseg.evaluation.skipped import skipping
from owseg.knowledge.base import KnowledgeBase
from owseg.models.over_images import over_images
from owseg.types import Output, Sample


@dataclass(frozen=True, eq=False, repr=False)
class SequenceEvaluation:
    """The metrics of a knowledge base that learned one class after another: an ``Evaluation`` of every stage."""

    stages: tuple[Evaluation, ...]

    @property
    def learned(self) -> tuple[str, ...]:
        """The classes in the order of learning."""
        return self.stages[-1].learned

    @property
    def steps(self) -> tuple[str, ...]:
        """The name of each stage: "before", then "+ CLASS" for the class that was learned."""
        return tuple(f"+ {stage.learned[-1]}" if stage.learned else "before" for stage in self.stages)

    def iou(self) -> dict[str, list[float]]:
        """Return IoU by class, one value for each stage; NaN before a class is learned."""
        tables = [stage.iou.per_class() for stage in self.stages]
        return {name: [table.get(name, float("nan")) for table in tables] for name in self.stages[-1].iou.names}

    def forgetting(self) -> dict[str, float]:
        """Return by class the best IoU of earlier stages less that of the last; NaN for the class learned last."""
        return {
            # Chaudhry et al. (ECCV 2018): the best it ever was, not what it was at first.
            name: max(past) - values[-1] if (past := [v for v in values[:-1] if not isnan(v)]) else float("nan")
            for name, values in self.iou().items()
        }

    def open_set(self) -> list[dict[str, float]]:
        """Return how each step of learning changed the open-set map; shares are in [0, 1], NaN where undefined.

        ``new_class_unknown`` is the share of the new class's pixels that are called unknown after it was learned.
        ``recall_before`` and ``recall_after`` are the shares of the pixels whose class is still unknown that are
        called unknown; ``auroc_after`` and ``ap_after`` are the metrics of the score on them.
        """
        rows = []
        for before, after in pairwise(self.stages):
            # The same classes before and after: those that the new class was among are left out of both.
            rest = [name for name in after.predicted_unknown if name not in after.iou.names]
            recall = [
                share(np.sum([stage.predicted_unknown[name] for name in rest], 0)) if rest else float("nan")
                for stage in (before, after)
            ]
            score = next(iter(after.scores.values()))  # a stage has one: its own
            rows.append({
                "new_class_unknown": share(after.predicted_unknown[after.learned[-1]]),
                "recall_before": recall[0],
                "recall_after": recall[1],
                "auroc_after": score.auroc,
                "ap_after": score.ap,
            })  # fmt: skip
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON; what is undefined is null."""
        value: dict[str, Any] = json_ready({
            "learned": list(self.learned),
            "stages": [stage.to_json() for stage in self.stages],
            "iou": self.iou(),
            "forgetting": self.forgetting(),
            "open_set": self.open_set(),
        })  # fmt: skip
        return value

    def tables(self) -> list[tuple[str, tuple[str, ...], Rows]]:
        """Return (title, header, rows) of text, for people."""
        steps = self.steps
        forgotten = self.forgetting()
        classes: Rows = [(n, *(number(v) for v in values), number(forgotten[n])) for n, values in self.iou().items()]
        sums = [stage.summary() for stage in self.stages]
        names = {
            "miou_old": "mIoU, base classes",
            "miou_novel": "mIoU, learned classes",
            "miou": "mIoU, all known classes",
            "miou_harmonic": "harmonic mean of base and learned",
            "known_fpr": "known pixels called unknown",
        }
        rows: Rows = [(title, *(number(s[key]) for s in sums)) for key, title in names.items()]
        titles = {
            "new_class_unknown": "pixels of the new class called unknown",
            "recall_before": "recall of the still unknown, before",
            "recall_after": "recall of the still unknown, after",
            "auroc_after": "AUROC on the still unknown",
            "ap_after": "AP on the still unknown",
        }
        effects = self.open_set()
        open_set: Rows = [(title, *(number(row[key]) for row in effects)) for key, title in titles.items()]
        where = f"{self.stages[-1].data}, {self.stages[-1].counted}"
        return [
            (f"IoU as classes are learned ({where})", ("class", *steps, "forgotten"), classes),
            ("Summary", ("", *steps), rows),
            ("Open-set map after each step", ("", *steps[1:]), open_set),
        ]

    def __repr__(self) -> str:
        last, named = self.stages[-1], zip(self.steps, self.stages, strict=True)
        miou = ", ".join(f"{step} {number(stage.iou.mean())}" for step, stage in named)
        return f"SequenceEvaluation({last.data}, {last.counted}: mIoU {miou})"


def evaluate_sequence(stages: Sequence[KnowledgeBase], data: DataSet) -> SequenceEvaluation:
    """Evaluate every stage of a knowledge base on ``data``, in one pass: an image passes the network once.

    ``stages`` share one network and are in the order of learning (see ``owseg.knowledge.load.load_stages``); ``data``
    may be opened against the labels of any of them. Images are skipped as by ``evaluate``. Raises ``OwsegError`` where
    no class was learned, and where no image can be measured.
    """
    return evaluate_sequences([stages], data)[0]


def evaluate_sequences(
    sequences: Sequence[Sequence[KnowledgeBase]], data: DataSet, metric: Callable[[], Accumulator] | None = None
) -> list[SequenceEvaluation]:
    """Evaluate several sequences of stages that share one network, in one pass (see ``evaluate_sequence``).

    A stage that is in several of them is evaluated once. ``metric`` is as for ``evaluate``.
    """
    if not all(stages and stages[-1].increments for stages in sequences):
        raise OwsegError("this knowledge base has not learned a class yet; learn one, or leave --sequence out.")
    different = {id(kb): kb for stages in sequences for kb in stages}
    evaluators = {i: Evaluator(kb, DataSet(data.source, kb.labels), metric=metric) for i, kb in different.items()}
    last = sequences[-1][-1]

    # Learning leaves network and scores as they are, so one output, and one score, serves all stages.
    def assess(sample: Sample, output: Output) -> list[Assessed]:
        scores: dict[tuple[int, ...], Mapping[str, np.ndarray]] = {}
        found: list[Assessed] = []
        for i, evaluator in evaluators.items():
            kb = different[i]
            same = id(kb.network), id(kb.fitted), id(kb.residual)  # what a score depends on
            assessed = evaluator.assess(sample, output, scores.get(same, {}))
            scores[same] = assessed[0].scores
            found.append(assessed)
        return found

    def failed(i: int, error: Exception) -> list[Assessed]:
        return [skipping(data)(i, error)] * len(evaluators)

    samples = evaluators[id(last)].samples
    for assessed in track(over_images(last.engine(), samples, assess, failed), "evaluating", len(data)):
        for evaluator, one in zip(evaluators.values(), assessed, strict=True):
            evaluator.update(one)
    found = {i: evaluation_of(evaluator) for i, evaluator in evaluators.items()}
    return [SequenceEvaluation(tuple(found[id(kb)] for kb in stages)) for stages in sequences]
