"""The queue: a folder of unknown regions, and what a person decided about each of them.

    queue.json           which knowledge base found them, with which settings, in images below which folder
    images/ID.json     an image: its name below that folder, its hash, what is unknown in it, its regions
    images/ID.npy      the regions' embeddings (n, C) float32
    thumbnails/ID-K.jpg  its K-th region, outlined
    groups.json          the regions in groups, in the order in which to look at them
    groups.jpg           the same as one image
    decisions.jsonl      one line for every action, in the order in which they were taken

Images stay where they are. Everything is written whole, ``ID.json`` after what belongs to it, and a decision is on
the disk before ``accept``, ``reject``, ``rename`` or ``undo`` returns: a kill loses nothing. What a file names lies
below the queue or below the folder of the images, and an image is used only if it still has the hash that it had.

``stored.py`` is these files, ``decisions.py`` the log of actions, ``shots.py`` what they say of an image's pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from owseg.data.images import read_image
from owseg.data.masks import Rle
from owseg.discovery import storage as stored
from owseg.discovery.decisions import (
    ACCEPT,
    DECISIONS,
    REJECT,
    RENAME,
    UNDO,
    Decision,
    append,
    class_name,
    replay,
    shot_masks,
    standing,
)
from owseg.discovery.storage import About, Group, QueueImage, file_hash, image_id, is_region
from owseg.errors import OwsegError
from owseg.knowledge.regions import Region, RegionProposals
from owseg.types import MAX_SHOTS, Shot


@dataclass(frozen=True)
class Queue:
    """A queue on disk. It holds no state of its own: what another process decides is seen at once."""

    folder: Path
    about: About

    @classmethod
    def begin(cls, folder: str | Path, about: About) -> Queue:
        """Start a queue in ``folder``, or go on with the one that is there.

        Raises ``OwsegError`` where that one was made by another knowledge base, with other settings or of other
        images, and where the folder holds something else.
        """
        folder = Path(folder)
        if stored.is_queue(folder):
            queue = cls.open(folder)
            for what, ours, theirs in (
                ("another knowledge base", about.fingerprint, queue.about.fingerprint),
                ("images below another folder", about.root, queue.about.root),
                ("other settings", (about.min_area, about.split_at), (queue.about.min_area, queue.about.split_at)),
            ):
                if ours != theirs:
                    raise OwsegError(f"{folder} holds a queue of {what} ({theirs}, not {ours}); give another --out.")
            return queue
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OwsegError(f"{folder} holds something that is no queue; give --out a new or empty folder.")
        stored.write_about(folder, about)
        return cls(folder, about)

    @classmethod
    def open(cls, folder: str | Path) -> Queue:
        """Open a queue; raise ``OwsegError`` for what is none, or one that is damaged or of another format."""
        folder = Path(folder)
        if not stored.is_queue(folder):
            raise OwsegError(f"{folder} is no queue; make one with `owseg discover KB PICTURES --out {folder}`.")
        return cls(folder, stored.read_about(folder))

    # Images and regions

    def has(self, name: str) -> bool:
        """Say whether the image ``name`` was looked at."""
        return stored.has_image(self.folder, image_id(name))

    def add(self, name: str, digest: str, found: RegionProposals, thumbnails: Sequence[bytes]) -> str:
        """Store what was found in the image ``name``, whose file has the SHA-256 ``digest``; return its id."""
        return stored.write_image_entry(self.folder, name, digest, found, thumbnails)

    def image_ids(self) -> list[str]:
        """Return the ids of the images that were looked at, sorted."""
        return stored.image_ids(self.folder)

    def entry(self, one: str) -> QueueImage:
        """Return the image called ``one``; raise ``OwsegError`` if there is none or its file is damaged."""
        return stored.read_image_entry(self.folder, one)

    def region(self, region: str) -> Region:
        """Return the region called ``region``; raise ``OwsegError`` if there is none."""
        one, k = self._split(region)
        return self.entry(one).regions[k - 1]

    def image(self, one: str) -> np.ndarray:
        """Return the pixels of the image ``one``, (3, H, W) uint8; refuse a file that is not the one looked at."""
        entry = self.entry(one)
        path = Path(self.about.root, entry.name)
        if not path.is_file():
            raise OwsegError(f"{path} is gone; put it back, or run `owseg discover` with another --out.")
        image = read_image(path)
        if file_hash(path) != entry.sha256 or image.shape[1:] != entry.size:
            raise OwsegError(f"{path} has changed since it was looked at; run `owseg discover` with another --out.")
        return image

    def thumbnail(self, region: str) -> Path:
        """Return where the JPEG of ``region`` lies."""
        self._split(region)
        return self.folder / stored.THUMBNAILS / f"{region}.jpg"

    # Groups

    def write_groups(self, groups: Sequence[Group]) -> None:
        """Store the groups, in the order in which to look at them."""
        stored.write_groups(self.folder, groups)

    def groups(self) -> list[Group]:
        """Return the groups in the order in which to look at them; raise ``OwsegError`` if they are damaged."""
        return stored.read_groups(self.folder)

    # Decisions

    def accept(self, regions: str | Sequence[str], name: str, mask: np.ndarray | None = None) -> None:
        """Say that ``regions`` (one, or a group's) are of the class ``name``.

        ``mask`` (H, W) bool corrects that of a single one.

        Raises ``OwsegError`` for a name that is none, too long or known already, a region that is not there, and a
        mask that does not fit or is empty.
        """
        regions, name = _several(regions), self._new(name)
        action: dict[str, Any] = {"do": ACCEPT, "regions": regions, "name": name}
        if mask is not None:
            if len(regions) != 1:
                raise OwsegError("a corrected mask is of one region; accept the others by themselves.")
            size = self.entry(self._split(regions[0])[0]).size
            if mask.shape != size or mask.dtype != bool or not mask.any():
                raise OwsegError(f"a corrected mask of {regions[0]} is bool, {size[1]}x{size[0]}, and not empty.")
            action["mask"] = Rle.of(mask).to_json()
        self._decide(action)

    def reject(self, regions: str | Sequence[str]) -> None:
        """Say that ``regions`` (one, or a group's) show nothing new."""
        self._decide({"do": REJECT, "regions": _several(regions)})

    def rename(self, regions: str | Sequence[str], name: str) -> None:
        """Say that accepted ``regions`` are of the class ``name`` instead; their corrected masks stay.

        Raises ``OwsegError`` as ``accept`` does, and for a region that is not accepted.
        """
        regions, name, held = _several(regions), self._new(name), self.decisions()
        if stray := [r for r in regions if r not in held or held[r].name is None]:
            raise OwsegError(f"{stray[0]!r} is not accepted, so it has no name to change; accept it first.")
        self._decide({"do": RENAME, "regions": regions, "name": name})

    def undo(self) -> bool:
        """Take the last action back that still holds, a whole group's if it was one; say whether there was any."""
        there_was = bool(standing(self._log))
        if there_was:
            append(self._log, {"do": UNDO, "regions": []})
        return there_was

    def decisions(self) -> dict[str, Decision]:
        """Return what holds now, by region; what was not decided is not in it."""
        return replay(self._log)

    def accepted(self) -> dict[str, list[str]]:
        """Return the accepted regions by class, classes and regions in the order in which they were first accepted."""
        found: dict[str, list[str]] = {}
        for region, decision in self.decisions().items():
            if decision.name is not None:
                found.setdefault(decision.name, []).append(region)
        return found

    def showing(self, name: str) -> list[str]:
        """Return the ids of the images with a region accepted as ``name``, those first that show most of it."""
        area: dict[str, int] = {}
        for region, decision in self.decisions().items():
            if decision.name == name:
                drawn = decision.mask or self.region(region).core
                one = self._split(region)[0]
                area[one] = area.get(one, 0) + drawn.area
        return sorted(area, key=lambda one: (-area[one], one))

    def shots(self, name: str, most: int = MAX_SHOTS, images: Sequence[str] | None = None) -> list[Shot]:
        """Return at most ``most`` images of the class ``name`` to learn it from, those first that show most of it.

        ``images``, by their ids, are taken instead if they are given, those that do not show the class left out. See
        ``shot_masks`` for what of an image is of the class, and what is void. Raises ``OwsegError`` if nothing of the
        class was accepted, or an image has changed.
        """
        decisions, best = self.decisions(), self.showing(name)
        if images is not None:
            best = [one for one in best if one in images]
        if not best:
            there = ", ".join(self.accepted()) or "nothing yet"
            raise OwsegError(f"no region of {self.folder} was accepted as {name!r}; accepted: {there}.")
        return [self._shot(self.entry(one), name, decisions) for one in best[:most]]

    def _shot(self, entry: QueueImage, name: str, decisions: Mapping[str, Decision]) -> Shot:
        if any((d := decisions.get(r)) and d.mask and d.mask.size != entry.size for r in entry.ids):
            raise stored.damaged(self._log)
        mask, void = shot_masks(entry, name, decisions)
        return Shot(self.image(entry.id), mask, entry.name, void)

    def _new(self, name: str) -> str:
        """Return a class's name; raise ``OwsegError`` if it is none, or known already."""
        if (name := class_name(name)) in self.about.classes:
            raise OwsegError(f"{name!r} is known already; reject the region, or name a new class.")
        return name

    def _split(self, region: str) -> tuple[str, int]:
        """Return the image's id and the number of a region; raise ``OwsegError`` for what names none."""
        if is_region(region):
            one, _, k = region.partition("-")
            if stored.has_image(self.folder, one) and int(k) <= len(stored.read_embeddings(self.folder, one)):
                return one, int(k)
        raise OwsegError(f"{region!r} names no region of {self.folder}.")

    def _decide(self, action: Mapping[str, Any]) -> None:
        for region in action["regions"]:
            self._split(region)
        append(self._log, action)

    @property
    def _log(self) -> Path:
        return self.folder / DECISIONS


def _several(regions: str | Sequence[str]) -> list[str]:
    several = [regions] if isinstance(regions, str) else list(dict.fromkeys(regions))
    if not several:
        raise OwsegError("there is no region to decide about; name one, or a group's.")
    return several
