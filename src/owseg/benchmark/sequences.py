"""Sequences of a recipe, measured: how well classes are learned one after another, and what that costs the others.

OUT/sequences/NAME/NETWORK-DRAW.json    the metrics of one draw of shots, learned by one knowledge base
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from owseg import __version__
from owseg._files import json_ready
from owseg.benchmark._checked import with_key
from owseg.benchmark._kept import digest_of, file_name, read_kept, write_kept
from owseg.benchmark.class_sequence import ClassSequence
from owseg.benchmark.tables import spread
from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.evaluation.evaluate import Evaluation, evaluate
from owseg.evaluation.sequence import SequenceEvaluation, evaluate_sequences
from owseg.knowledge.base import KnowledgeBase
from owseg.learners.sequence import learn_sequence, sample_classes
from owseg.metrics.binned import Binned
from owseg.metrics.iou import harmonic
from owseg.models.cache import CachedForward
from owseg.types import Forward

COLUMNS = {
    "old": "old mIoU",
    "novel": "novel mIoU",
    "harmonic": "harmonic",
    "of_joint": "of joint",
    "forgotten": "forgotten",
    "new_unknown": "new still unknown",
    "found_before": "others found before",
    "found_after": "others found after",
    "known_fpr": "known called unknown",
}
"""The metrics of a run after a step, by key, in the order of the tables; the IoU of each class is after the first."""

BRIEF = {"old": "old mIoU", "harmonic": "harmonic", "of_joint": "of joint", "found_after": "others found"}
"""The columns of the tables for the terminal."""

NOTE = (
    "Classes are learned one after another by each method, from several draws of shots: mean ± standard deviation over "
    "draws and networks. Old is the mIoU of the classes that the network was trained for, novel that of those learned, "
    "harmonic their harmonic mean; of joint: divided by that of a network that was trained with these classes from the "
    "start. Forgotten: what the old mIoU lost. Others are the classes that are still unknown: the share of their "
    "pixels that is called unknown, before the first class was learned and now."
)


@dataclass(frozen=True)
class SequenceResult:
    """What was measured of a sequence: its ``runs`` as plain JSON, one for each network, draw, method, number of shots.

    ``known`` is the number of classes before the first. ``joint`` has, by the number of classes learned, the metrics of
    networks that were trained with them.
    """

    sequence: ClassSequence
    known: int
    runs: tuple[dict[str, Any], ...] = field(repr=False, hash=False)
    joint: Mapping[int, Sequence[Mapping[str, float]]] = field(hash=False)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON; what is undefined is null."""
        s = self.sequence
        about = {"kb": list(s.kb), "order": list(s.order), "shots_data": s.shots_data, "data": s.data, "draws": s.draws}
        value: dict[str, Any] = json_ready({**about, "joint": dict(self.joint), "runs": list(self.runs)})
        return value

    def tables(
        self, columns: Mapping[str, str] = COLUMNS, digits: int = 3
    ) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
        """Return (title, header, rows) of text, for people: a table for each number of classes learned."""
        return [self._table(step, columns, digits) for step in range(1, len(self.sequence.order) + 1)]

    def _table(
        self, step: int, columns: Mapping[str, str], digits: int
    ) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
        novel, sequence, rows = self.sequence.order[:step], self.sequence, []
        if bounds := self.joint.get(step):
            rows.append(("joint", "–", *_cells(bounds, novel, columns, digits)))
        for title in sequence.learners:
            for shots in sequence.shots:
                runs = [r["steps"][step - 1] for r in self.runs if (r["learner"], r["shots"]) == (title, shots)]
                rows.append((title, str(shots), *_cells(runs, novel, columns, digits)))
        first, *others = columns.values()
        name = f"{sequence.name}: {self.known} + {step}, {', '.join(novel)}"
        return name, ("method", "shots", first, *novel, *others), rows


def _cells(
    metrics: Sequence[Mapping[str, Any]], novel: Sequence[str], columns: Iterable[str], digits: int
) -> tuple[str, ...]:
    first, *others = ([m.get(key) for m in metrics] for key in columns)
    per_class = [[m["iou"][name] for m in metrics] for name in novel]
    return tuple(
        spread([np.nan if v is None else v for v in values], digits) for values in (first, *per_class, *others)
    )


def networks_of(
    sequence: ClassSequence, load: Callable[[str], KnowledgeBase]
) -> tuple[list[KnowledgeBase], dict[int, list[KnowledgeBase]]]:
    """Load the knowledge bases of a sequence, and those that were trained with its classes, by how many.

    Raises ``OwsegError`` with the key of the recipe where one cannot be loaded or knows a class already.
    """
    key = f"sequences.{sequence.name}"
    kbs = [with_key(f"{key}.kb", load, kb) for kb in sequence.kb]
    joint = {n: [with_key(f"{key}.joint.{n}", load, kb) for kb in of_step] for n, of_step in sequence.joint.items()}
    for name, kb in zip(sequence.kb, kbs, strict=True):
        if known := [c for c in sequence.order if c in kb.labels]:
            raise OwsegError(f"{key}.order: {known[0]!r} is known to {name} already; leave it out.")
    return kbs, joint


def measure_sequence(
    sequence: ClassSequence,
    kbs: Sequence[KnowledgeBase],
    joint: Mapping[int, Sequence[KnowledgeBase]],
    shots_data: DataSet,
    data: DataSet,
    out: Path,
    report: Callable[[str], None] = lambda line: None,
) -> SequenceResult:
    """Measure a sequence with its knowledge bases, and those that were trained with its classes.

    ``shots_data`` are the images that shots are drawn from. What is kept in ``out`` is not measured again. Raises
    ``OwsegError``, with the key of the recipe, for a class that too few images show, and whatever a method refuses.
    """
    place, digest = out / "sequences" / file_name(sequence.name), data.fingerprint()
    bounds = {
        step: [
            _bound(place / f"joint-{step}-{i}.json", kb, sequence.order[:step], data, digest)
            for i, kb in enumerate(of_step)
        ]
        for step, of_step in joint.items()
    }
    runs, digest = [], digest_of(digest, shots_data.fingerprint())
    for i, kb in enumerate(kbs):
        forward = CachedForward(kb.engine())  # of the shots, which several draws and all methods share
        for draw in range(sequence.draws):
            report(f"{sequence.name}: draw {draw + 1} of {sequence.draws}, network {i + 1} of {len(kbs)}")
            path, of = place / f"{i}-{draw}.json", (kb, forward, draw, shots_data, data, digest)
            found = with_key(f"sequences.{sequence.name}", _draw, path, sequence, *of)
            runs += [{"network": i, "draw": draw, **run} for run in found]
    for run in runs:
        for step, after in enumerate(run["steps"], 1):
            after["of_joint"] = after["harmonic"] / bounds[step][run["network"]]["harmonic"] if step in bounds else None
    return SequenceResult(sequence, len(kbs[0].labels), tuple(runs), bounds)


def _bound(path: Path, kb: KnowledgeBase, novel: Sequence[str], data: DataSet, digest: str) -> dict[str, Any]:
    """Return the metrics of a network that was trained with the ``novel`` classes, measured or kept."""
    digest = digest_of(__version__, kb.fingerprint(True), digest, novel)
    kept = read_kept(path, digest)
    if kept is None:
        # The closed map is wanted alone; a histogram of scores takes least memory.
        evaluation = evaluate(kb, DataSet(data.source, kb.labels), metric=Binned)
        kept = json_ready(_miou(evaluation, novel))
        write_kept(path, digest, kept)
    return kept


def _draw(
    path: Path, sequence: ClassSequence, kb: KnowledgeBase, forward: Forward, draw: int, shots_data: DataSet,
    data: DataSet, digest: str,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the metrics of all methods and numbers of shots, of one draw, measured or kept."""
    how = [[title, learner.method, asdict(learner)] for title, learner in sequence.learners.items()]  # type: ignore[call-overload]
    digest = digest_of(__version__, kb.fingerprint(True), digest, sequence.order, sequence.shots, draw, how)
    if kept := read_kept(path, digest):
        return list(kept["runs"])
    runs, sequences = [], []
    for shots in sequence.shots:
        classes = sample_classes(shots_data, sequence.order, shots, draw)
        for title, learner in sequence.learners.items():
            started = time.perf_counter()
            with warnings.catch_warnings():
                # Of a head that labels every pixel: what it does to the open-set map is in the table.
                warnings.simplefilter("ignore", UserWarning)
                stages = learn_sequence(kb, classes, method=learner, forward=forward)
            runs.append({"learner": title, "shots": shots, "seconds": time.perf_counter() - started})
            sequences.append([kb, *stages])
    # All in one pass over the images; of the scores histograms, as there is one for each run and step.
    found = evaluate_sequences(sequences, data, Binned)
    runs = [{**run, "steps": json_ready(_steps(one))} for run, one in zip(runs, found, strict=True)]
    write_kept(path, digest, {"runs": runs})
    return runs


def _steps(sequence: SequenceEvaluation) -> list[dict[str, Any]]:
    """Return the metrics after each class."""
    base, *stages = sequence.stages
    found = []
    for stage in stages:
        effect = SequenceEvaluation((base, stage)).open_set()[0]
        found.append({
            **_miou(stage, stage.learned),
            "forgotten": base.iou.mean() - stage.iou.mean(base.iou.names),
            "new_unknown": effect["new_class_unknown"],
            "found_before": effect["recall_before"],
            "found_after": effect["recall_after"],
            "known_fpr": stage.known_fpr,
        })  # fmt: skip
    return found


def _miou(evaluation: Evaluation, novel: Sequence[str]) -> dict[str, Any]:
    """Return mIoU of the other and of the ``novel`` classes, their harmonic mean, and the IoU of each class."""
    iou = evaluation.iou
    old, new = iou.mean([name for name in iou.names if name not in novel]), iou.mean(novel)
    return {"old": old, "novel": new, "harmonic": harmonic(old, new), "iou": iou.per_class()}
