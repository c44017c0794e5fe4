"""Several classes learned one after another, and the manifest from which that can be repeated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from owseg._files import read_json, write_whole
from owseg.data.dataset import DataSet
from owseg.data.lazy import Lazy
from owseg.data.shots import sample_shots, shot_of
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.versions import has_version
from owseg.learners.base import Learner
from owseg.learners.learn import learn
from owseg.models.cache import CachedForward
from owseg.types import DEFAULT_SHOTS, Forward, Shot

FORMAT = 1


@dataclass(frozen=True, eq=False)
class ClassShots:
    """A class to learn and the shots that it is learned from."""

    name: str
    shots: Sequence[Shot]


def sample_classes(
    data: DataSet, names: Sequence[str], count: int = DEFAULT_SHOTS, seed: int = 0, top: float = 0.2
) -> list[ClassShots]:
    """Draw the shots of every class in ``names`` from ``data`` (see ``sample_shots``)."""
    return [ClassShots(name, sample_shots(data, name, count, seed, top)) for name in names]


def learn_sequence(
    kb: KnowledgeBase,
    classes: Sequence[ClassShots],
    known: DataSet | None = None,
    method: Learner | None = None,
    forward: Forward | None = None,
) -> list[KnowledgeBase]:
    """Learn one class after another (see ``learn``); return the knowledge base after each.

    The network never changes, so by default each image passes it once for the whole sequence.
    """
    forward, stages = forward or CachedForward(kb.engine()), []
    for new in classes:
        kb = learn(kb, new.name, new.shots, known, method, forward=forward)
        stages.append(kb)
    return stages


def save_stages(
    base: KnowledgeBase, stages: Sequence[KnowledgeBase], directory: str | Path, slim: bool = False
) -> list[int]:
    """Store each of ``stages`` as a version of ``directory``, in order, and return the numbers of what was stored.

    A directory without a version gets ``base`` first, so that what was learned can be undone there, too.
    """
    made = stages if has_version(directory) else (base, *stages)
    return [kb.save(directory, slim) for kb in made]


def write_manifest(path: str | Path, classes: Sequence[ClassShots], data: DataSet, **rule: Any) -> None:
    """Write what it takes to repeat a sequence, as JSON: its order, the images, and a hash of each image and mask.

    ``rule`` says, for the reader, how the shots were drawn.
    """
    listed = [{"name": x.name, "shots": [{"id": s.id, "sha256": s.fingerprint()} for s in x.shots]} for x in classes]
    value = {"format": FORMAT, "data": data.source.name, "rule": rule, "classes": listed}
    write_whole(path, json.dumps(value, indent=1).encode() + b"\n")


def read_manifest(path: str | Path, data: DataSet) -> list[ClassShots]:
    """Read the shots that a manifest names from ``data``; raise ``OwsegError`` where they are not the same pixels."""
    try:
        value = read_json(Path(path), "a manifest of a sequence")
        if value["format"] != FORMAT:
            raise OwsegError(f"{path} is of format {value['format']}; this owseg reads format {FORMAT}.")
        wanted = [(c["name"], [(s["id"], s["sha256"]) for s in c["shots"]]) for c in value["classes"]]
        if not all(isinstance(text, str) for name, shots in wanted for text in (name, *(i for i, _ in shots))):
            # Numbers would pass as keys and then be reported as images that are missing.
            raise TypeError("a name is not text")
    except OwsegError:  # which is a ValueError, too
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OwsegError(f"{path} is not a manifest of a sequence ({error!r}).") from None
    numbers = {image_id: i for i, image_id in enumerate(data.source.ids)}
    classes = []
    for name, shots in wanted:
        found = []
        for image_id, digest in shots:
            if image_id not in numbers:
                raise OwsegError(f"{path} names the image {image_id}, which {data.source.name} does not have.")
            shot = shot_of(data, numbers[image_id], name)
            # Of image and mask: neither an edited file nor another release of the data set passes for the same shots.
            if shot.fingerprint() != digest:
                raise OwsegError(f"{image_id} is not the image, or not the mask of {name}, that {path} was made with.")
            found.append(numbers[image_id])
        classes.append(ClassShots(name, Lazy(found, partial(shot_of, data, name=name))))
    return classes
