"""Learning a class from the queue, comparing images before and after, and undoing it; each class is a version."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import isnan, nan

from owseg.data.render import encode_jpeg
from owseg.discovery.contents import image_id_of, image_of
from owseg.discovery.queue_shots import shots_to_correct, shots_to_learn
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.commit import check_place, rollback_version
from owseg.knowledge.load import load
from owseg.knowledge.versions import current_version, has_version, version_history
from owseg.learners.learn import correct, learn
from owseg.learners.leave_one_out import left_out_iou
from owseg.models.cache import CachedForward
from owseg.review.state import ReviewState, is_provisional

MAX_COMPARED = 6
"""How many images are shown before and after learning."""

CHECKED = "left_out_iou"
"""What the history calls the result of ``left_out_iou``, where None stands for NaN, which JSON does not have."""


@dataclass(frozen=True)
class Change:
    """What the current version learned: the class and its color, both version numbers, and the names of its shots.

    ``corrected`` says whether the version before knew the class, ``found`` with which IoU each shot is found by what
    the others show (``left_out_iou``); None for a version that was not checked.
    """

    name: str
    version: int
    parent: int
    shots: tuple[str, ...]
    color: tuple[int, int, int]
    corrected: bool = False
    found: Mapping[str, float] | None = field(default=None, hash=False)


class LearningSession:
    """Learns classes from a queue. The knowledge base is read from ``source`` until ``target`` has a version.

    Raises ``OwsegError`` if ``target`` cannot be written, and for a knowledge base that is not the one that the queue
    was made with, or learned from it.
    """

    def __init__(self, state: ReviewState, source: str, target: str, load: Callable[..., KnowledgeBase] = load) -> None:
        self.state, self.source, self.target, self._from = state, source, target, load
        self.stage = ""
        self._lock = threading.Lock()
        # Versions never change, so what was loaded or drawn of one stays right.
        self.load: Callable[[int | None], KnowledgeBase] = lru_cache(4)(self._load)
        self.overlay: Callable[[int, str], bytes] = lru_cache(64)(self._overlay)
        check_place(target)
        classes = state.queue.info.classes
        kb = self.kb()
        if kb.labels.names[: len(classes)] != classes:
            raise OwsegError(
                f"{state.queue.folder} was made with a knowledge base that knows {', '.join(classes)}; "
                f"{self.place} does not; review it with that one."
            )
        # Learning changes no weight of the network, so all versions share one cache of its outputs.
        self._forward = CachedForward(kb.engine(), gigabytes=0.5)

    @property
    def place(self) -> str:
        """Where the current knowledge base is stored."""
        return self.target if has_version(self.target) else self.source

    def kb(self) -> KnowledgeBase:
        """Return the current knowledge base."""
        return self.load(current_version(self.target) if has_version(self.target) else None)

    def learn(self, name: str) -> int:
        """Learn ``name`` from its chosen shots, store a version and return its number; ``stage`` is the present step.

        A class that the current version knows is corrected, from all regions of it. Regions of something else are
        counterexamples (see ``owseg.discovery.queue_shots``). Raises ``OwsegError`` while another class is being
        learned, for a provisional name, and as ``owseg.learn`` and ``correct`` do.
        """
        if is_provisional(name):
            raise OwsegError(f"{name!r} is not the name of a class; name the class before you learn it.")
        if not self._lock.acquire(blocking=False):
            raise OwsegError("another class is being learned; wait until that is done.")
        try:
            self.stage = "reading the shots"
            base, queue = self.kb(), self.state.queue
            known = name in base.labels
            shots = (
                shots_to_correct(queue, name, base, self._forward)
                if known
                else shots_to_learn(queue, name, self.state.chosen(name))
            )
            number = f"{len(shots)} image{'s' if len(shots) > 1 else ''}"
            self.stage = f"{'correcting' if known else 'learning'} {name} from {number}"
            updated = (correct if known else learn)(base, name, shots, forward=self._forward)
            self.stage = f"checking the shots of {name} against each other"
            updated = _checked(updated, left_out_iou(base, name, shots, forward=self._forward))
            self.stage = "storing the new version"
            if self.place != self.target:
                base.save(self.target)  # so that learning can be undone there, too
            return updated.save(self.target)
        finally:
            self.stage = ""
            self._lock.release()

    def change(self) -> Change | None:
        """Return what the current version learned; None if it did not come from learning a class."""
        if self.place != self.target:
            return None
        current = next(v for v in version_history(self.target) if v.current)
        kb = self.kb()
        if current.parent is None or not kb.history or kb.history[-1].action not in ("learn", "correct"):
            return None
        event = kb.history[-1]
        shots, name = tuple(str(shot["id"]) for shot in event.details["shots"]), str(event.details["class"])
        color = kb.labels.colors[kb.labels.index(name)]
        said = event.details.get(CHECKED)
        found = None if said is None else {shot: nan if iou is None else float(iou) for shot, iou in said.items()}
        return Change(name, current.number, current.parent, shots, color, event.action == "correct", found)

    def undo(self) -> int:
        """Make the parent version current again and return its number; raise ``OwsegError`` if nothing was learned."""
        if (change := self.change()) is None:
            raise OwsegError("nothing was learned that could be undone.")
        return rollback_version(self.target, change.parent)

    def images_to_compare(self, change: Change) -> list[str]:
        """Return the ids of images to show before and after: those of the class's groups first, its shots last."""
        state, decisions = self.state, self.state.decisions()
        similar = [
            image_of(r)
            for g in state.groups()
            if any(r in decisions and change.name in (decisions[r].name, decisions[r].known) for r in g.regions)
            for r in (*g.regions, *(c for several in g.copies.values() for c in several))
        ]
        order = list(dict.fromkeys((*similar, *state.queue.image_ids())))
        # By their ids, so that no image has to be read for its name; a shot may be of another folder.
        ids = {image_id_of(name) for name in change.shots}
        shots = [i for i in order if i in ids]
        others = [i for i in order if i not in ids]
        # Two places are kept for shots, where the class is to be found if anywhere.
        return [*others[: MAX_COMPARED - min(2, len(shots))], *shots][:MAX_COMPARED]

    def _load(self, version: int | None) -> KnowledgeBase:
        kb = self._from(self.source) if version is None else self._from(self.target, version)
        # Named by its number because it is the current one, not to branch off from it.
        return replace(kb, origin=replace(kb.origin, current=None)) if kb.origin else kb

    def _overlay(self, version: int, image_id: str) -> bytes:
        image, kb = self.state.queue.image(image_id), self.load(version)
        return encode_jpeg(kb.predict(image, self._forward).overlay())


def _checked(kb: KnowledgeBase, found: Mapping[str, float]) -> KnowledgeBase:
    """Return ``kb`` whose history says at the end what ``left_out_iou`` found."""
    *before, event = kb.history
    said = {shot: None if isnan(iou) else round(iou, 4) for shot, iou in found.items()}
    return replace(kb, history=(*before, replace(event, details={**event.details, CHECKED: said})))
