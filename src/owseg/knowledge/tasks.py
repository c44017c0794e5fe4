"""Tasks: what a knowledge base is asked for, all that is unknown or what lies on the road."""

from __future__ import annotations

from dataclasses import replace

from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.scorers import ON_ROAD, ROAD

TASKS = ("unknown", "obstacles")
"""All that is unknown, anywhere in the image; unknown things on the road, small ones too."""


def scorer_for(kb: KnowledgeBase, task: str, scorer: str | None = None) -> str:
    """Return the score by which ``kb`` does a ``task``: ``scorer``, by default its own, as it is or on the road.

    Raises ``OwsegError`` for a task that there is not, for obstacles by another score than that in use, and where the
    network knows no road.
    """
    if task not in TASKS:
        raise OwsegError(f"there is no task {task!r}; it is {' or '.join(TASKS)}.")
    if task == "unknown":
        return scorer or kb.scorer
    own = kb.scorer if kb.scorer.endswith(ON_ROAD) else kb.scorer + ON_ROAD
    # Its threshold is stored without the name of a score: it is of the one in use.
    if scorer not in (None, kb.scorer, own):
        raise OwsegError(f"the task {task} is done by the score in use, {kb.scorer}; choose another without --task.")
    if ROAD not in kb.base_classes:
        raise OwsegError(f"the task {task} needs a network with a class {ROAD!r}; this one has none.")
    return own


def for_task(kb: KnowledgeBase, task: str) -> KnowledgeBase:
    """Return ``kb`` with the score and the threshold of a ``task``, one of ``TASKS``.

    Raises ``OwsegError`` as ``scorer_for``, and where there is no threshold for it.
    """
    scorer = scorer_for(kb, task)
    if scorer == kb.scorer:
        return kb
    if kb.obstacles is None:
        raise OwsegError(
            f"there is no threshold for {task} yet; run `owseg calibrate KB --data KIND:DIR --task {task}`."
        )
    return replace(kb, scorer=scorer, threshold=kb.obstacles)
