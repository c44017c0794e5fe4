"""The lesson: learning a class from the queue, what that changed, and undoing it; a version each, as everywhere."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from owseg.data.render import encode_jpeg
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.commit import check_place, rollback_version
from owseg.knowledge.load import load
from owseg.knowledge.versions import current_version, has_version, version_history
from owseg.learners.learn import learn
from owseg.models.engine import CachedForward
from owseg.review.state import ReviewState, is_provisional

PICTURES = 6
"""How many images are shown as they were labelled before and after."""


@dataclass(frozen=True)
class Change:
    """What the version in use learned: the class, its parent's number, and the images that taught it, by name."""

    name: str
    now: int
    before: int
    shots: tuple[str, ...]
    color: tuple[int, int, int]


class LearningSession:
    """The knowledge base that a queue teaches: read from ``source`` until there is one in ``target``, stored there.

    Raises ``OwsegError`` for a knowledge base other than the one that the queue is from and what came of it.
    """

    def __init__(self, desk: ReviewState, source: str, target: str):
        self.desk, self.source, self.target = desk, source, target
        self.stage = ""
        self._lock = threading.Lock()
        self.load: Callable[[int | None], KnowledgeBase] = lru_cache(4)(self._load)
        self.map: Callable[[int, str], bytes] = lru_cache(64)(self._map)
        check_place(target)
        classes = desk.queue.about.classes
        kb = self.kb()
        if kb.labels.names[: len(classes)] != classes:
            raise OwsegError(
                f"{desk.queue.folder} was made by a knowledge base that knows {', '.join(classes)}, not {self.place}."
            )
        self._forward = CachedForward(kb.forward, gigabytes=0.5)

    @property
    def place(self) -> str:
        """Where the knowledge base in use lies."""
        return self.target if has_version(self.target) else self.source

    def kb(self) -> KnowledgeBase:
        """Return the knowledge base in use."""
        return self.load(current_version(self.target) if has_version(self.target) else None)

    def learn(self, name: str) -> int:
        """Learn ``name`` from its chosen shots, store the version and return its number; ``stage`` tells how far it is.

        Raises ``OwsegError`` while another class is being learned, for a name that is only a group's number, and as
        ``owseg.learn`` does.
        """
        if is_provisional(name):
            raise OwsegError(f"{name!r} is only a number; say what it is before it is learned.")
        if not self._lock.acquire(blocking=False):
            raise OwsegError("a class is being learned just now; wait until it is done.")
        try:
            self.stage = "reading the shots"
            base = self.kb()
            shots = self.desk.queue.shots(name, images=self.desk.chosen(name))
            self.stage = f"learning {name} from {len(shots)} image{'s' if len(shots) > 1 else ''}"
            updated = learn(base, name, shots, forward=self._forward)
            self.stage = "storing the new version"
            if self.place != self.target:
                base.save(self.target)  # so that it can be undone there, too
            return updated.save(self.target)
        finally:
            self.stage = ""
            self._lock.release()

    def change(self) -> Change | None:
        """Return what the version in use learned over its parent, None if it did not learn a class."""
        if self.place != self.target:
            return None
        now = next(v for v in version_history(self.target) if v.current)
        kb = self.kb()
        event = kb.history[-1]
        if now.parent is None or event.action != "learn":
            return None
        shots = tuple(str(shot["id"]) for shot in event.details["shots"])
        return Change(str(event.details["class"]), now.number, now.parent, shots, kb.labels.colors[-1])

    def undo(self) -> int:
        """Use the version before again and return its number; raise ``OwsegError`` if nothing was learned."""
        if (change := self.change()) is None:
            raise OwsegError("nothing was learned that could be undone.")
        return rollback_version(self.target, change.before)

    def images(self, change: Change) -> list[str]:
        """Return the ids of images on which to see a change: those in the class's groups, no shots, come first."""
        desk, decisions = self.desk, self.desk.decisions()
        alike = [
            r.partition("-")[0]
            for g in desk.groups()
            if any(r in decisions and decisions[r].name == change.name for r in g.regions)
            for r in (*g.regions, *(c for several in g.copies.values() for c in several))
        ]
        order = list(dict.fromkeys((*alike, *desk.queue.image_ids())))
        taught = [one for one in order if desk.entry(one).name in change.shots]
        return [*[one for one in order if one not in taught][: PICTURES - min(2, len(taught))], *taught][:PICTURES]

    def _load(self, version: int | None) -> KnowledgeBase:
        return load(self.source) if version is None else load(self.target, version)

    def _map(self, version: int, one: str) -> bytes:
        image, kb = self.desk.queue.image(one), self.load(version)
        return encode_jpeg(kb.predict(image, self._forward).overlay())
