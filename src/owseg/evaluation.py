"""Measuring on labelled pictures: closed-set IoU, anomaly scores, the open-set map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import torch

from owseg.data.source import DataSet
from owseg.errors import OwsegError
from owseg.knowledge import KnowledgeBase
from owseg.labels import KNOWN, UNKNOWN
from owseg.learners.shots import Look
from owseg.maps import Folder, Manifest, Maps
from owseg.measure import plain
from owseg.metrics.iou import IoU, harmonic
from owseg.metrics.pixel import Exact, PerImage, PixelFigures
from owseg.models.network import Network, to_tensor
from owseg.openset import closed_map
from owseg.progress import track
from owseg.types import Output, PictureScorer, resize

Rows = list[tuple[str, ...]]


@dataclass(frozen=True)
class Evaluation:
    """What was measured on ``images`` pictures of ``data``.

    ``iou`` is that of the closed map, learned classes included (``learned`` names them). ``scores`` holds AUROC, AP and
    FPR95 by scorer, pixels that a learned class claims counting as least anomalous. ``unknown_found`` and
    ``known_lost`` are the shares of unknown and of known pixels that the open-set map calls unknown; NaN without a
    threshold. ``states`` are the accumulators behind ``scores``, to draw curves from or to merge. ``called`` counts by
    class of the data, known and unknown ones, the pixels that the open-set map calls unknown, and all of them.
    """

    data: str
    images: int
    iou: IoU
    scores: dict[str, PixelFigures]
    unknown_found: float
    known_lost: float
    learned: tuple[str, ...]
    states: dict[str, Any]
    called: dict[str, tuple[int, int]]

    @property
    def protocol(self) -> str:
        """How the scores were measured, in words."""
        state = next(iter(self.states.values()))
        how = "mean over pictures that show both" if isinstance(state, PerImage) else "pixels pooled"
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
            "unknown_found": self.unknown_found,
            "known_lost": self.known_lost,
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
        return plain(value)

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
        where = f"{self.data}, {self.images} pictures"
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
    look: Look | None = None,
) -> Evaluation:
    """Measure ``kb`` on ``data``, which must be opened against ``kb.labels``; by default its own scorer alone.

    ``metric`` makes the accumulator for each score: ``Exact``, ``Binned`` or ``PerImage`` (see
    ``owseg.metrics.pixel``). ``look`` is by default ``kb.forward``. Raises ``OwsegError`` for data without truth or in
    other labels.
    """
    look = look or kb.forward
    tally = Tally(kb, data, scorers, metric)
    for i in track(range(len(data)), "evaluating", len(data)):
        image, truth = tally.read(i)
        tally.update(look(image), truth)
    return tally.result()


def evaluate_pictures(
    scorers: Mapping[str, PictureScorer], data: DataSet, metric: Callable[[], Any] = Exact
) -> dict[str, PixelFigures]:
    """Return by name how well scores find what is UNKNOWN in ``data``, opened against the known classes.

    For what is no function of a network's output: see ``owseg.baselines`` and ``owseg.models.mask_classifiers``.
    ``metric`` is as for ``evaluate``. Raises ``OwsegError`` for a frame without a mask.
    """
    states = {name: metric() for name in scorers}
    for sample in track(data, "evaluating", len(data)):
        if sample.target is None:
            raise OwsegError(f"{sample.id} has no mask; evaluation needs one for every picture.")
        for name, scorer in scorers.items():
            score = torch.from_numpy(scorer(sample.image))[None, None]
            states[name].update(resize(score, sample.target.shape)[0, 0].numpy(), sample.target)
    return {name: state.compute() for name, state in states.items()}


class Tally:
    """What ``evaluate`` counts, picture by picture, for a caller who has the network's outputs already."""

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
            raise OwsegError(f"{sample.id} has no mask; evaluation needs one for every picture.")
        return sample.image, sample.target

    def update(self, output: Output, truth: np.ndarray) -> None:
        """Add one picture: what the network made of it, and its truth as ``read`` gives it."""
        truth = self._table[truth]  # in which every unknown class has an id of its own, beyond the known ones
        size, known = (truth.shape[0], truth.shape[1]), len(self.kb.labels)
        target = np.where((truth >= known) & (truth < KNOWN), UNKNOWN, truth).astype(np.uint8)
        labels, claimed = self.kb.closed(output, size)
        self._iou = self._iou.update(labels, target)
        for name in {*self._states, self.kb.scorer}:
            score = self.kb.score(output, size, name)
            score[claimed] = -np.inf
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
        return plain(value)

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
        where = f"{self.stages[-1].data}, {self.stages[-1].images} pictures"
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
    tallies = [Tally(kb, DataSet(data.source, kb.labels)) for kb in stages]
    for i in track(range(len(data)), "evaluating", len(data)):
        image, truth = tallies[-1].read(i)
        output = stages[-1].forward(image)
        for tally in tallies:
            tally.update(output, truth)
    return Stream(tuple(tally.result() for tally in tallies))


def store_maps(
    kb: KnowledgeBase,
    data: DataSet,
    directory: str | Path,
    scorers: Sequence[str] | None = None,
    look: Look | None = None,
    settings: Mapping[str, Any] | None = None,
    beside: Mapping[str, PictureScorer] | None = None,
) -> Folder:
    """Write what ``kb`` says of every picture of ``data`` into ``directory``; pictures that are there are not redone.

    ``data`` is opened against ``kb.labels``; a score is -inf where a learned class claims the pixel. By default only
    ``kb``'s own scorer is asked. ``look`` is by default ``kb.forward``; ``settings`` says in words and numbers in which
    way it is another. Names of ``scorers`` that are in ``beside`` mean the scores of pictures there (see
    ``owseg.baselines``). The figures are ``owseg.measure.measure``'s. Raises ``OwsegError`` for other labels, a picture
    without truth, an unknown scorer, a score that is NaN, and a folder with maps of anything else.
    """
    if data.labels.names != kb.labels.names:
        raise OwsegError("the data set speaks other labels than the knowledge base; open it against kb.labels.")
    names, beside = tuple(scorers or (kb.scorer,)), beside or {}
    for name in names:
        if name not in beside:
            kb.scorers(name)
    of = Manifest(
        kb.fingerprint(),
        data.fingerprint(),
        data.source.name,
        kb.labels.names,
        names,
        data.source.ids,
        settings or {},
    )
    folder = Folder.begin(directory, of)
    missing, number = list(folder.missing()), {name: i for i, name in enumerate(data.source.ids)}
    for picture in track(missing, "scoring", len(missing)):
        sample = data[number[picture]]
        if sample.target is None:
            raise OwsegError(f"{sample.id} has no mask; evaluation needs one for every picture.")
        output, size = (look or kb.forward)(sample.image), (sample.target.shape[0], sample.target.shape[1])
        labels, claimed = kb.closed(output, size)
        scores = {}
        for name in names:
            if name in beside:
                score = resize(torch.from_numpy(beside[name](sample.image))[None, None], size)[0, 0].numpy()
            else:
                score = kb.score(output, size, name)
            scores[name] = np.where(claimed, -np.inf, score)
        if any(np.isnan(score).any() for score in scores.values()):
            raise OwsegError(f"a score of {picture} is NaN; check the weights and the picture.")
        folder.write(picture, Maps(labels, sample.target, scores))
    return folder


@torch.no_grad()
def closed_iou(network: Network, data: DataSet) -> IoU:
    """Return the IoU of ``network``'s closed map on ``data``, at full resolution."""
    iou = IoU.of(data.labels.names)
    device = next(network.parameters()).device
    for sample in data:
        if sample.target is None:
            raise OwsegError(f"{sample.id} has no mask; validation needs one for every picture.")
        image = to_tensor(sample.image).to(device, memory_format=torch.channels_last)
        logits = resize(network(image).logits, sample.target.shape)
        iou = iou.update(closed_map(logits)[0].to(torch.uint8).cpu().numpy(), sample.target)
    return iou


def _share(called: Sequence[int]) -> float:
    return float(called[0] / called[1]) if called[1] else float("nan")


def _text(value: float) -> str:
    return "–" if isnan(value) else f"{value:.3f}"
