"""Several classes learned one after another, and the manifest from which that can be repeated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from owseg.data.dataset import DataSet
from owseg.data.shots import sample_shots, shot_of
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.learners.base import Learner
from owseg.learners.learn import learn
from owseg.models.engine import CachedForward
from owseg.types import Forward, Shot

FORMAT = 1


@dataclass(frozen=True)
class Lesson:
    """One class of a sequence and the shots it is learned from."""

    name: str
    shots: tuple[Shot, ...]


def draw(data: DataSet, names: Sequence[str], count: int = 5, seed: int = 0, top: float = 0.2) -> list[Lesson]:
    """Draw the shots of every class (see ``sample_shots``)."""
    return [Lesson(name, tuple(sample_shots(data, name, count, seed, top))) for name in names]


def learn_sequence(
    kb: KnowledgeBase,
    lessons: Sequence[Lesson],
    known: DataSet | None = None,
    method: Learner | None = None,
    forward: Forward | None = None,
) -> list[KnowledgeBase]:
    """Learn one class after another (see ``learn``); return the knowledge base after each.

    The network never changes, so each image passes it once for the whole sequence.
    """
    forward, stages = forward or CachedForward(kb.forward), []
    for lesson in lessons:
        kb = learn(kb, lesson.name, lesson.shots, known, method, forward=forward)
        stages.append(kb)
    return stages


def manifest(lessons: Sequence[Lesson], data: DataSet, **rule: Any) -> dict[str, Any]:
    """Return what it takes to repeat a sequence, as plain JSON: order, frames, and a hash of each image and mask."""
    classes = [{"name": x.name, "shots": [{"id": s.id, "sha256": s.fingerprint()} for s in x.shots]} for x in lessons]
    return {"format": FORMAT, "data": data.source.name, "rule": rule, "classes": classes}


def from_manifest(path: Path, data: DataSet) -> list[Lesson]:
    """Read the lessons that a manifest names from ``data``; raise ``OwsegError`` where they are not the same pixels."""
    try:
        value = json.loads(path.read_text())
        if value["format"] != FORMAT:
            raise OwsegError(f"{path} is of format {value['format']}; this owseg reads format {FORMAT}.")
        wanted = [(c["name"], [(s["id"], s["sha256"]) for s in c["shots"]]) for c in value["classes"]]
    except OwsegError:  # which is a ValueError, too
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OwsegError(f"{path} is not a manifest of a sequence ({error!r}).") from None
    frames = {name: i for i, name in enumerate(data.source.ids)}
    lessons = []
    for name, shots in wanted:
        found = []
        for frame, digest in shots:
            if frame not in frames:
                raise OwsegError(f"{path} names the frame {frame}, which {data.source.name} does not have.")
            shot = shot_of(data, frames[frame], name)
            if shot.fingerprint() != digest:
                raise OwsegError(f"{frame} is not the image, or not the mask of {name}, that {path} was made with.")
            found.append(shot)
        lessons.append(Lesson(name, tuple(found)))
    return lessons
