"""The queue: a folder of unknown regions, and a reviewer's decisions about them.

    queue.db             how it was made; the images, their unknown pixels and regions; groups, log of actions, shots
    thumbnails/ID-K.jpg  the K-th region of the image ID, outlined
    groups.jpg           the first groups as one image

Images stay where they are; one is used only while it is below its folder and its hash is the stored one. A decision is
on the disk before the call that makes it returns, so a kill loses nothing. Processes that write take turns.

``contents.py`` has the values, ``rows.py`` what they are in the database, ``database.py`` how that is opened,
``queue_images.py`` images and regions, ``log.py`` the actions, ``decisions.py`` what follows from them, ``moves.py``
the groups after those that are moves, ``shot_masks.py`` the way to shots. Queues were folders of JSON files before:
``old_layout.py`` reads them, ``storage.py`` says which it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from sqlite3 import Connection

import numpy as np

from owseg.data.masks import Rle
from owseg.discovery import rows
from owseg.discovery.contents import Group, QueueInfo
from owseg.discovery.database import sound
from owseg.discovery.decisions import Decision, Decisions
from owseg.discovery.log import ACCEPT, KNOWN, REJECT, RENAME, UNDO, Action, class_name, insert_action, read_actions
from owseg.discovery.moves import moved, number_of_next, regrouped, split_off
from owseg.discovery.queue_images import QueueImages
from owseg.discovery.shot_masks import shot_masks
from owseg.discovery.storage import Storage
from owseg.errors import OwsegError
from owseg.labels import check_class_names
from owseg.types import DEFAULT_SHOTS, Shot


@dataclass(frozen=True)
class Queue(QueueImages):
    """A queue on disk. Another process's actions count at once: of what changes, only the log is kept, and read on."""

    @classmethod
    def begin(cls, folder: str | Path, info: QueueInfo) -> Queue:
        """Create a queue in ``folder``, or open the one that is there.

        Raises ``OwsegError`` if that one was made by another knowledge base, with other settings or of images below
        another folder, and if the folder holds something else.
        """
        Storage(Path(folder)).begin(info)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | Path) -> Queue:
        """Open a queue; raise ``OwsegError`` if ``folder`` holds none, or one that is damaged or of another format."""
        return cls(Path(folder), Storage(Path(folder)).read_info())

    # Groups

    def write_groups(self, groups: Sequence[Group]) -> None:
        """Store the groups, in the order of review."""
        with self.storage.writing() as db:
            rows.replace_groups(db, groups)

    def groups(self) -> list[Group]:
        """Return the groups in the order of review, after all that was split and merged.

        Raises ``OwsegError`` if they were never made, or are damaged.
        """
        return regrouped(self.discovered(), self.moves())

    def discovered(self) -> list[Group]:
        """Return the groups as they were stored, before any move; raises as ``groups`` does."""
        with self.storage.reading() as db:
            found = rows.read_groups(db)
        if found is None:
            raise OwsegError(f"{self.folder} has no groups yet; run `owseg discover` again, and it goes on.")
        return found

    def stamp(self) -> tuple[int, int]:
        """Return two numbers: one grows as the groups are written, one with each action."""
        with self.storage.reading() as db:
            return rows.read_stamp(db)

    def moves(self) -> tuple[Action, ...]:
        """Return the moves that hold, in the order in which they were made."""
        with self.storage.reading() as db:
            return self._log.moves(db)

    def split(self, regions: str | Sequence[str]) -> int:
        """Make ``regions`` a group of their own and return its number; what was decided about them stays.

        Raises ``OwsegError`` for a region that is in no group, and for all of a group.
        """
        with self._deciding(regions := _as_tuple(regions)) as db:
            insert_action(db, split_off(self.groups(), regions))
            return number_of_next(self.discovered(), self.moves())

    def merge(self, regions: str | Sequence[str], into: int) -> None:
        """Move ``regions``, those of a group or some, to the group of the number ``into``; decisions stay.

        Raises ``OwsegError`` for a region that is in no group, for a group that is not there, and where all of them are
        in it already.
        """
        with self._deciding(regions := _as_tuple(regions)) as db:
            insert_action(db, moved(self.groups(), regions, into))

    # Decisions

    def new_class(self, name: str) -> str:
        """Return ``name`` without surrounding blanks.

        Raises ``OwsegError`` if it is not the name of a class, is reserved, or known already.
        """
        check_class_names([name := class_name(name)])
        if name in self.info.classes:
            raise OwsegError(f"{name!r} is known already; mark the region as known, or name a new class.")
        return name

    def accept(self, regions: str | Sequence[str], name: str, mask: np.ndarray | None = None) -> None:
        """Accept ``regions`` (one, or a group's) as the class ``name``.

        ``mask`` (H, W) bool corrects the mask of a single region. Raises ``OwsegError`` for a name that is not a class
        name or is known already, a region that is not in the queue, and a mask that is empty or of another size.
        """
        regions, name = _as_tuple(regions), self.new_class(name)
        if mask is not None:
            if len(regions) != 1:
                raise OwsegError("a corrected mask belongs to one region; accept the others in another call.")
            size = self.entry(self.locate(regions[0])[0]).size
            if mask.shape != size or mask.dtype != bool or not mask.any():
                raise OwsegError(f"a corrected mask of {regions[0]} is bool, {size[1]}x{size[0]}, and not empty.")
        with self._deciding(regions) as db:
            insert_action(db, Action(ACCEPT, regions, name, None if mask is None else Rle.of(mask)))

    def reject(self, regions: str | Sequence[str]) -> None:
        """Reject ``regions`` (one, or a group's): they show nothing new."""
        with self._deciding(regions := _as_tuple(regions)) as db:
            insert_action(db, Action(REJECT, regions))

    def mark_known(self, regions: str | Sequence[str], name: str) -> None:
        """Note that ``regions`` (one, or a group's) show the known class ``name``: they are false alarms.

        Raises ``OwsegError`` for a class that the knowledge base of the queue does not know.
        """
        if name not in self.info.classes:
            raise OwsegError(f"{name!r:.99} is no known class; known are {', '.join(self.info.classes)}.")
        with self._deciding(regions := _as_tuple(regions)) as db:
            insert_action(db, Action(KNOWN, regions, class_name(name)))

    def rename(self, regions: str | Sequence[str], name: str) -> None:
        """Change the class of accepted ``regions`` to ``name``; their corrected masks stay.

        Raises ``OwsegError`` as ``accept`` does, and for a region that is not accepted.
        """
        regions, name = _as_tuple(regions), self.new_class(name)

        with self._deciding(regions) as db:
            decisions = self.decisions()
            if others := [r for r in regions if r not in decisions or decisions[r].name is None]:
                raise OwsegError(f"{others[0]!r} is not accepted, so it has no name to change; accept it first.")
            insert_action(db, Action(RENAME, regions, name))

    def undo(self) -> bool:
        """Undo the last action that holds, for all of its regions; return whether there was one."""
        with self.storage.writing() as db:
            if is_any := self._log.any_action(db):
                insert_action(db, Action(UNDO))
            return is_any

    def decisions(self) -> dict[str, Decision]:
        """Return the decision about each decided region, by region."""
        with self.storage.reading() as db:
            return self._log.read(db)

    def actions(self) -> list[Action]:
        """Return all actions in the order in which they were done, those that were undone among them."""
        with self.storage.reading() as db:
            return [action for _, action in read_actions(db)]

    def accepted(self) -> dict[str, list[str]]:
        """Return the accepted regions by class, classes and regions in the order in which they were first accepted."""
        found: dict[str, list[str]] = {}
        for region, decision in self.decisions().items():
            if decision.name is not None:
                found.setdefault(decision.name, []).append(region)
        return found

    def images_of(self, name: str) -> list[str]:
        """Return the ids of the images with a region accepted as ``name``, in the order in which they were accepted.

        Of a group that is accepted at once that is the order of its regions, the most typical first.
        """
        found, decisions = dict[str, None](), self.decisions()
        with sound(self.storage.path):
            for region, decision in decisions.items():
                if decision.name == name:
                    image_id, _, k = region.partition("-")
                    found[image_id] = None
                    _ = self.summary(image_id).areas[int(k) - 1]  # a log may name a region that is not there
        return list(found)

    def shots(self, name: str, max_shots: int = DEFAULT_SHOTS, images: Sequence[str] | None = None) -> list[Shot]:
        """Return at most ``max_shots`` shots of the class ``name``, of the images that were accepted first.

        ``images`` limits them to the images of these ids. See ``shot_masks`` for what is positive and what is void.
        Raises ``OwsegError`` if no region of these images was accepted as the class, or an image has changed.
        """
        decisions, order = self.decisions(), self.images_of(name)
        if images is not None:
            chosen = frozenset(images)
            order = [image_id for image_id in order if image_id in chosen]
        if not order:
            classes = ", ".join(self.accepted()) or "nothing yet"
            raise OwsegError(f"no region of {self.folder} was accepted as {name!r}; accepted: {classes}.")
        return [self.shot(image_id, name, decisions) for image_id in order[:max_shots]]

    def shot(self, image_id: str, name: str, decisions: Mapping[str, Decision]) -> Shot:
        """Return the shot of the class ``name`` that an image is after ``decisions``; see ``shot_masks``.

        Raises ``OwsegError`` for an image that has changed, and for a corrected mask that is not of its size.
        """
        entry = self.entry(image_id)
        for region in entry.ids:
            if (decision := decisions.get(region)) and decision.mask and decision.mask.size != entry.size:
                raise OwsegError(f"the corrected mask of {region} is not of the size of its image; correct it again.")
        positives, void = shot_masks(entry, name, decisions)
        return Shot(self.image(image_id), positives, entry.name, void)

    def choose(self, name: str, images: Sequence[str]) -> None:
        """Learn ``name`` from the images of these ids; raise ``OwsegError`` for none, and for one without it."""
        if not images or not set(images) <= set(self.images_of(name)):
            raise OwsegError(f"{name!r} is learned from one or more of the images that were accepted for it.")
        with self.storage.writing() as db:
            rows.replace_shots(db, name, images)

    def chosen(self, name: str) -> list[str]:
        """Return the ids of the images that were chosen for ``name``, also those without it by now."""
        with self.storage.reading() as db:
            return rows.read_shots(db, name)

    @contextmanager
    def _deciding(self, regions: Sequence[str]) -> Iterator[Connection]:
        """Yield a connection to log an action on ``regions``, which are there; nobody else adds one meanwhile."""
        with self.storage.writing() as db:
            regions_in = cache(partial(rows.count_regions, db))  # each image once, however many of its regions
            for region in regions:
                self.locate(region, regions_in)
            yield db

    @cached_property
    def _log(self) -> Decisions:
        return Decisions(self.storage.path)


def _as_tuple(regions: str | Sequence[str]) -> tuple[str, ...]:
    listed = (regions,) if isinstance(regions, str) else tuple(dict.fromkeys(regions))
    if not listed:
        raise OwsegError("there is no region to decide about; give a region, or those of a group.")
    return listed
