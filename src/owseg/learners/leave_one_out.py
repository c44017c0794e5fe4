"""Whether shots agree: each is predicted by what is learned from the others."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import nan

from owseg._progress import track
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.learners.base import Learner
from owseg.learners.learn import learn
from owseg.metrics.iou import IoU
from owseg.types import Forward, Shot


def left_out_iou(
    kb: KnowledgeBase,
    name: str,
    shots: Sequence[Shot],
    method: Learner | None = None,
    forward: Forward | None = None,
) -> dict[str, float]:
    """Return by its id with which IoU each shot is predicted once ``name`` is learned from the others alone.

    ``kb`` does not know the class yet; ``method`` and ``forward`` are as for ``learn``. Void does not count. NaN where
    nothing can be learned from the others. One shot has no others: then it is empty. Of two shots of one id, the second
    is named "ID (2)".
    """
    if len(shots) < 2:
        return {}
    found: dict[str, float] = {}
    for i, shot in enumerate(track(shots, f"checking the shots of {name}", len(shots))):
        count = sum(other.id == shot.id for other in shots[: i + 1])
        others = [other for j, other in enumerate(shots) if j != i]
        found[shot.id if count == 1 else f"{shot.id} ({count})"] = _iou(kb, name, shot, others, method, forward)
    return found


def _iou(
    kb: KnowledgeBase, name: str, shot: Shot, others: Sequence[Shot], method: Learner | None, forward: Forward | None
) -> float:
    forward = forward or kb.engine()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the threshold of what is thrown away
            learned = learn(kb, name, others, method=method, forward=forward)
    except OwsegError:
        return nan
    predicted = learned.assess(forward(shot.image), shot.size).labels == learned.labels.names.index(name)
    counted = shot.positives | shot.negatives
    iou = IoU.of(("others", name)).update(predicted[counted].astype(int), shot.positives[counted].astype(int))
    return iou.per_class()[name]
