"""Whether shots agree: each is predicted by what is learned from others."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from math import nan

from owseg._progress import track
from owseg.data.lazy import Lazy
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.learners.base import Learner
from owseg.learners.learn import correct, learn
from owseg.metrics.iou import IoU
from owseg.types import Forward, Shot

MOST_FOLDS = 5
"""How often the class is learned at most: of more shots than these, several are left out at once."""


def left_out_iou(
    kb: KnowledgeBase,
    name: str,
    shots: Sequence[Shot],
    method: Learner | None = None,
    forward: Forward | None = None,
) -> dict[str, float]:
    """Return by its id with which IoU each shot is predicted once ``name`` is learned without it.

    Up to ``MOST_FOLDS`` shots are left out one at a time; more are parted into so many folds, each of which is left out
    once. Counterexamples never are. ``kb`` is the one before; ``method`` and ``forward`` are as for ``learn``, or for
    ``correct`` where it knows the class. Void does not count. NaN where nothing can be learned from the others. One
    shot has no others: then it is empty. Of two shots of one id, the second is named "ID (2)".
    """
    forward = forward or kb.engine()
    ids = {i: shot.id for i, shot in enumerate(shots) if not shot.is_counterexample}
    if len(ids) < 2:
        return {}
    folds = [fold for k in range(MOST_FOLDS) if (fold := [*ids][k::MOST_FOLDS])]
    found: dict[int, float] = {}
    for fold in track(folds, f"checking the shots of {name}", len(folds)):
        learned = _learned(kb, name, _without(shots, fold), method, forward)
        found |= {i: nan if learned is None else _iou(learned, name, shots[i], forward) for i in fold}
    before: Counter[str] = Counter()
    named: dict[str, float] = {}
    for i, shot_id in ids.items():
        before[shot_id] += 1
        named[shot_id if before[shot_id] == 1 else f"{shot_id} ({before[shot_id]})"] = found[i]
    return named


def _without(shots: Sequence[Shot], fold: Sequence[int]) -> Sequence[Shot]:
    gone = frozenset(fold)
    return Lazy([i for i in range(len(shots)) if i not in gone], shots.__getitem__)


def _learned(
    kb: KnowledgeBase, name: str, shots: Sequence[Shot], method: Learner | None, forward: Forward
) -> KnowledgeBase | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the threshold of what is thrown away
            return (correct if name in kb.labels else learn)(kb, name, shots, method=method, forward=forward)
    except OwsegError:
        return None


def _iou(learned: KnowledgeBase, name: str, shot: Shot, forward: Forward) -> float:
    predicted = learned.assess(forward(shot.image), shot.size).labels == learned.labels.index(name)
    counted = shot.positives | shot.negatives
    iou = IoU.of(("others", name)).update(predicted[counted].astype(int), shot.positives[counted].astype(int))
    return iou.per_class()[name]
