"""Evaluation on labelled images: IoU of the closed map, metrics of anomaly scores, and the open-set map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import torch

from owseg._files import json_ready
from owseg._progress import track
from owseg.data.dataset import DataSet
from owseg.evaluation.evaluator import Accumulator, Evaluator
from owseg.evaluation.parts import count_in_parts
from owseg.evaluation.skipped import measured
from owseg.knowledge.model import Model
from owseg.labels import KNOWN
from owseg.metrics.binned import Binned
from owseg.metrics.iou import IoU, harmonic
from owseg.metrics.pixel import PerImage, PixelMetrics
from owseg.metrics.pooled import Pooled
from owseg.models.cluster import Cluster
from owseg.models.ops import resize
from owseg.types import Forward, ImageScorer

Rows = list[tuple[str, ...]]


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """The metrics of a knowledge base on ``images`` images of the data set called ``data``.

    ``skipped`` says by its name why another image was not measured: it, or its mask, cannot be read.

    ``iou`` is that of the closed map, including the ``learned`` classes. ``scores`` has AUROC, AP and FPR95 by the name
    of the scorer; where a learned class is predicted, a score is -inf. ``unknown_recall`` and ``known_fpr`` are the
    shares of unknown and of known pixels that the open-set map calls unknown, in [0, 1]; NaN without a threshold.
    ``states`` are the accumulators of ``scores``, for curves. ``predicted_unknown`` has, for each known and unknown
    class of the data, the number of its pixels that are called unknown, and of all its pixels.
    """

    data: str
    images: int
    iou: IoU
    scores: dict[str, PixelMetrics]
    unknown_recall: float
    known_fpr: float
    learned: tuple[str, ...]
    states: dict[str, Any]  # Any: accumulators differ in what they offer beside ``compute``
    predicted_unknown: dict[str, tuple[int, int]]
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def counted(self) -> str:
        """How many images were measured, and how many were not, for people."""
        return f"{self.images} images" + (f", {len(self.skipped)} skipped" if self.skipped else "")

    @property
    def protocol(self) -> str:
        """How the scores were measured, for people."""
        state = next(iter(self.states.values()))
        how = "mean over images that show both" if isinstance(state, PerImage) else "pixels pooled"
        point = getattr(state, "operating_point", "first")
        text = f"{how}, void ignored, FPR at the {point} recall of .95"
        # Metrics of unlike protocols must not be compared, so every table and every JSON names its own.
        if isinstance(state, Pooled) and not state.exact:
            return f"{text}, from histograms, as there are more than {state.limit:,} pixels"
        return f"{text}, from histograms" if isinstance(state, Binned) else f"{text}, exact"

    @property
    def base_classes(self) -> tuple[str, ...]:
        """The names of the classes that the network was trained for."""
        return tuple(n for n in self.iou.names if n not in self.learned)

    def summary(self) -> dict[str, float]:
        """Return the metrics in brief: mIoU of all, old and novel classes, their harmonic mean, and the threshold's."""
        old, novel = self.iou.mean(self.base_classes), self.iou.mean(self.learned)
        return {
            "miou": self.iou.mean(),
            "miou_old": old,
            "miou_novel": novel,
            "miou_harmonic": harmonic(old, novel),
            "unknown_recall": self.unknown_recall,
            "known_fpr": self.known_fpr,
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON; what is undefined is null."""
        scores = {n: {f.name: getattr(s, f.name) for f in fields(s)} for n, s in self.scores.items()}
        value: dict[str, Any] = json_ready({
            "data": self.data,
            "images": self.images,
            "skipped": dict(self.skipped),
            "protocol": self.protocol,
            "summary": self.summary(),
            "iou": self.iou.per_class(),
            "absent": list(self.iou.empty()),
            "scores": scores,
        })  # fmt: skip
        return value

    def tables(self) -> list[tuple[str, tuple[str, ...], Rows]]:
        """Return (title, header, rows) of text, for people."""
        iou = {name: number(value) for name, value in self.iou.per_class().items()}
        classes: Rows = list(iou.items())
        header: tuple[str, ...] = ("class", "IoU")
        if self.learned:
            classes = [(name, "learned" if name in self.learned else "", value) for name, value in iou.items()]
            header = ("class", "", "IoU")
        metrics = ("auroc", "ap", "fpr95")
        scores: Rows = [(name, *(score.text(metric) for metric in metrics)) for name, score in self.scores.items()]
        names = {
            "miou": "mIoU, all known classes",
            "miou_old": "mIoU, base classes",
            "miou_novel": "mIoU, learned classes",
            "miou_harmonic": "harmonic mean of the two",
            "unknown_recall": "unknown pixels called unknown",
            "known_fpr": "known pixels called unknown",
        }
        sums: Rows = [(names[k], number(v)) for k, v in self.summary().items() if not isnan(v)]
        where = f"{self.data}, {self.counted}"
        has_classes = not isnan(self.iou.mean())  # anomaly sets name no known class
        return [
            *([(f"IoU per class ({where})", header, classes)] if has_classes else []),
            (f"Anomaly scores ({where}; {self.protocol})", ("score", "AUROC", "AP", "FPR95"), scores),
            ("Summary", ("", ""), sums),
        ]

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} AP {score.text('ap')}" for name, score in self.scores.items())
        return f"Evaluation({self.data}, {self.counted}: mIoU {number(self.iou.mean())}; {scores})"


def evaluate(
    kb: Model,
    data: DataSet,
    scorers: Sequence[str] | None = None,
    metric: Callable[[], Accumulator] | None = None,
    forward: Forward | None = None,
    parts: str | Path | None = None,
    cluster: Cluster | None = None,
) -> Evaluation:
    """Evaluate ``kb`` on ``data``, which is opened against ``kb.labels``.

    ``scorers`` names the scores, by default ``kb``'s own. ``metric`` makes the accumulator of each score: ``Exact``,
    ``Binned`` or ``PerImage`` (see ``owseg.metrics``); by default pixels are pooled, exactly up to 67 million of them
    and from histograms beyond (see ``Pooled``). ``forward`` is by default ``kb.engine()``. ``parts`` is a folder where
    what was counted is kept, so that an evaluation that was stopped goes on; with a ``cluster`` its workers evaluate
    (see ``owseg.evaluation.parts``). An image is skipped that cannot be read, has no mask or is too large for the
    memory. Raises ``OwsegError`` where that is so of all, and for data in other labels, a scorer that ``kb`` does not
    have, and a folder of another evaluation.
    """
    evaluator, forward = Evaluator(kb, data, scorers, metric), forward or kb.engine()
    if parts is not None or cluster is not None:
        evaluator.counts = count_in_parts(evaluator, forward, None if parts is None else Path(parts), cluster)
        return evaluation_of(evaluator)
    for one in track(evaluator.over(forward), "evaluating", len(data)):
        evaluator.update(one)
    return evaluation_of(evaluator)


def evaluation_of(evaluator: Evaluator) -> Evaluation:
    """Return the metrics of everything that was added to an evaluator; raise ``OwsegError`` where all was skipped."""
    counts, kb, names = evaluator.counts, evaluator.kb, evaluator.names
    known = len(kb.labels)
    both = np.stack([counts.predicted, counts.total])
    of_known = both[:, :known].sum(1) + both[:, KNOWN]  # KNOWN has no class, but is known
    of_unknown = both[:, known : len(names)].sum(1)
    per_class = zip(names, *both[:, : len(names)], strict=True)
    return Evaluation(
        data=evaluator.data.source.name,
        images=measured(evaluator.data, counts.skipped),
        iou=counts.iou,
        scores={name: state.compute() for name, state in counts.scores.items()},
        unknown_recall=share(of_unknown),
        known_fpr=share(of_known),
        learned=kb.learned_classes,
        states=dict(counts.scores),
        predicted_unknown={name: (int(predicted), int(total)) for name, predicted, total in per_class},
        skipped=counts.skipped,
    )


def evaluate_image_scorers(
    scorers: Mapping[str, ImageScorer], data: DataSet, metric: Callable[[], Accumulator] | None = None
) -> dict[str, PixelMetrics]:
    """Return by name how well image scorers (see ``owseg.image_scorers``) find what is UNKNOWN in ``data``.

    ``data`` is opened against the known classes, ``metric`` is as for ``evaluate``. Raises ``OwsegError`` for an image
    without a mask.
    """
    states = {name: (metric or Pooled)() for name in scorers}
    for sample in track(data, "evaluating", len(data)):
        target = sample.mask_for("evaluation")
        size = target.shape[0], target.shape[1]
        for name, scorer in scorers.items():
            # A mask may have more pixels than its image; metrics are taken at the size of the mask.
            score = torch.from_numpy(scorer(sample.image))[None, None]
            states[name].update(resize(score, size)[0, 0].numpy(), target)
    return {name: state.compute() for name, state in states.items()}


def share(counts: Sequence[int] | np.ndarray) -> float:
    """Return ``counts[0] / counts[1]``, or NaN for a total of 0."""
    return float(counts[0] / counts[1]) if counts[1] else float("nan")


def number(value: float) -> str:
    """Return a metric as text with three decimals, or a dash for NaN."""
    return "–" if isnan(value) else f"{value:.3f}"
