"""Measuring a knowledge base after each class that it learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan
from typing import Any

import numpy as np

from owseg._files import json_ready
from owseg._progress import track
from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.evaluation.evaluate import Evaluation, Evaluator, Rows, _share, _text
from owseg.knowledge.base import KnowledgeBase


@dataclass(frozen=True)
class Stream:
    """How a knowledge base fared as it learned one class after another: an ``Evaluation`` for every stage."""

    stages: tuple[Evaluation, ...]

    @property
    def learned(self) -> tuple[str, ...]:
        """The classes in the order of learning."""
        return self.stages[-1].learned

    @property
    def steps(self) -> tuple[str, ...]:
        """What each stage is called: before, and then by the class it learned."""
        return tuple(f"+ {stage.learned[-1]}" if stage.learned else "before" for stage in self.stages)

    def iou(self) -> dict[str, list[float]]:
        """Return IoU by class and stage; NaN before a class is learned."""
        tables = [stage.iou.per_class() for stage in self.stages]
        return {name: [table.get(name, float("nan")) for table in tables] for name in self.stages[-1].iou.names}

    def forgetting(self) -> dict[str, float]:
        """Return by class the best IoU it ever had before less what it has now; NaN for the class learned last."""
        return {
            name: max(past) - values[-1] if (past := [v for v in values[:-1] if not isnan(v)]) else float("nan")
            for name, values in self.iou().items()
        }

    def still_unknown(self) -> list[dict[str, float]]:
        """Return what each stage of learning did to the open-set map.

        ``learned_called_unknown`` is the share of the new class's pixels that are called unknown all the same;
        ``found_before`` and ``found_after`` the share of what is unknown even now that was and is called unknown;
        ``ap_after`` and ``auroc_after`` how well the score finds it.
        """
        rows = []
        for before, after in pairwise(self.stages):
            rest = [n for n in after.called if n not in after.iou.names]
            own = after.scores.get(next(iter(after.scores)))
            rows.append(
                {
                    "learned_called_unknown": _share(after.called[after.learned[-1]]),
                    "found_before": _share(np.sum([before.called[n] for n in rest], 0) if rest else (0, 0)),
                    "found_after": _share(np.sum([after.called[n] for n in rest], 0) if rest else (0, 0)),
                    "auroc_after": own.auroc if own else float("nan"),
                    "ap_after": own.ap if own else float("nan"),
                }
            )
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON; what is undefined is null."""
        value = {
            "learned": list(self.learned),
            "stages": [stage.to_json() for stage in self.stages],
            "iou": self.iou(),
            "forgetting": self.forgetting(),
            "still_unknown": self.still_unknown(),
        }
        return json_ready(value)

    def tables(self) -> list[tuple[str, tuple[str, ...], Rows]]:
        """Return (title, header, rows) of text, for people."""
        steps = self.steps
        forgotten = self.forgetting()
        classes: Rows = [(n, *(_text(v) for v in values), _text(forgotten[n])) for n, values in self.iou().items()]
        sums = [stage.summary() for stage in self.stages]
        names = {
            "miou_old": "mIoU, classes trained",
            "miou_novel": "mIoU, classes learned",
            "miou": "mIoU, all known classes",
            "miou_harmonic": "harmonic mean of old and learned",
            "known_lost": "known pixels called unknown",
        }
        rows: Rows = [(title, *(_text(s[key]) for s in sums)) for key, title in names.items()]
        words = {
            "learned_called_unknown": "of the new class, still called unknown",
            "found_before": "of what is unknown even now: found before",
            "found_after": "of what is unknown even now: found after",
            "auroc_after": "AUROC on what is unknown even now",
            "ap_after": "AP on what is unknown even now",
        }
        effects = self.still_unknown()
        open_set: Rows = [(title, *(_text(row[key]) for row in effects)) for key, title in words.items()]
        where = f"{self.stages[-1].data}, {self.stages[-1].images} images"
        return [
            (f"IoU as classes are learned ({where})", ("class", *steps, "forgotten"), classes),
            ("In sum", ("", *steps), rows),
            ("The threshold follows", ("share of pixels", *steps[1:]), open_set),
        ]


def evaluate_stream(stages: Sequence[KnowledgeBase], data: DataSet) -> Stream:
    """Measure every stage of a knowledge base on ``data``, whatever labels that was opened against, in one pass.

    ``stages`` share one network, as learning leaves them (see ``owseg.knowledge.load_stages``).
    """
    if not stages or not stages[-1].increments:
        raise OwsegError("this knowledge base has not learned a class yet; there is no stream to measure.")
    tallies = [Evaluator(kb, DataSet(data.source, kb.labels)) for kb in stages]
    for i in track(range(len(data)), "evaluating", len(data)):
        image, truth = tallies[-1].read(i)
        output = stages[-1].forward(image)
        for tally in tallies:
            tally.update(output, truth)
    return Stream(tuple(tally.result() for tally in tallies))
