"""The queue: a folder of unknown regions, and a reviewer's decisions about them.

    queue.json           which knowledge base found them, with which settings, in images below which folder
    pictures/ID.json     an image: its name below that folder, its hash, its unknown pixels, its regions
    pictures/ID.npy      the embeddings of its regions, (n, C) float32
    thumbnails/ID-K.jpg  its K-th region, outlined
    groups.json          the regions in groups, in the order of review
    groups.jpg           the same as one image
    decisions.jsonl      one line for every action, in order

Images stay where they are. Every file is written whole, ``ID.json`` after what belongs to it, and an action is on the
disk before the call that does it returns, so a kill loses nothing. Processes that act on one queue take turns by the
lock ``.lock``. A name in a file must lie below the queue or below the folder of the images, and an image is used only
while its hash is the stored one.

``storage.py`` has these files, ``decisions.py`` the log of actions, ``shot_masks.py`` the way from there to shots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from owseg.data.images import read_image
from owseg.data.masks import Rle
from owseg.discovery import storage
from owseg.discovery.decisions import (
    ACCEPT,
    DECISIONS,
    KNOWN,
    REJECT,
    RENAME,
    UNDO,
    Decision,
    Decisions,
    append_action,
    class_name,
)
from owseg.discovery.shot_masks import shot_masks
from owseg.discovery.storage import Group, ImageSummary, QueueImage, QueueInfo, file_hash, image_id_of, is_region_id
from owseg.errors import OwsegError
from owseg.knowledge.regions import Region, RegionProposals
from owseg.labels import check_class_names
from owseg.types import MAX_SHOTS, Shot


@dataclass(frozen=True)
class Queue:
    """A queue on disk. Another process's actions count at once: of what changes, only the log is kept, and read on.

    Regions are named by their ids, ``IMAGE-K``, and images by theirs. ``info`` says how the queue was made.
    """

    folder: Path
    info: QueueInfo

    @classmethod
    def begin(cls, folder: str | Path, info: QueueInfo) -> Queue:
        """Create a queue in ``folder``, or open the one that is there.

        Raises ``OwsegError`` if that one was made by another knowledge base, with other settings or of images below
        another folder, and if the folder holds something else.
        """
        folder = Path(folder)
        if storage.is_queue(folder):
            queue = cls.open(folder)
            if info.fingerprint != queue.info.fingerprint:
                raise OwsegError(f"{folder} holds a queue of another knowledge base; give another --out.")
            for what, ours, theirs in (
                ("images below another folder", info.root, queue.info.root),
                ("other settings", (info.min_area, info.split_at), (queue.info.min_area, queue.info.split_at)),
            ):
                if ours != theirs:
                    raise OwsegError(f"{folder} holds a queue of {what} ({theirs}, not {ours}); give another --out.")
            return queue
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OwsegError(f"{folder} exists and is not a queue; give --out a new or empty folder.")
        storage.write_info(folder, info)
        return cls(folder, info)

    @classmethod
    def open(cls, folder: str | Path) -> Queue:
        """Open a queue; raise ``OwsegError`` if ``folder`` holds none, or one that is damaged or of another format."""
        folder = Path(folder)
        if not storage.is_queue(folder):
            raise OwsegError(f"{folder} is not a queue; make one with `owseg discover KB IMAGES --out QUEUE`.")
        return cls(folder, storage.read_info(folder))

    # Images and regions

    def has(self, name: str) -> bool:
        """Return whether the image ``name`` is in the queue."""
        return storage.has_image(self.folder, image_id_of(name))

    def add(self, name: str, digest: str, proposals: RegionProposals, thumbnails: Sequence[bytes]) -> str:
        """Store the unknown regions of the image ``name``, whose file has the SHA-256 ``digest``; return its id."""
        return storage.write_image_entry(self.folder, name, digest, proposals, thumbnails)

    def image_ids(self) -> list[str]:
        """Return the ids of all images, sorted."""
        return storage.image_ids(self.folder)

    def entry(self, image_id: str) -> QueueImage:
        """Return what is stored of an image; raise ``OwsegError`` if there is none or its file is damaged."""
        return storage.read_image_entry(self.folder, image_id)

    def region(self, region: str) -> Region:
        """Return a region; raise ``OwsegError`` if there is none of that id."""
        image_id, k = self._split(region)
        return self.entry(image_id).regions[k - 1]

    def image(self, image_id: str) -> np.ndarray:
        """Return the pixels of an image, (3, H, W) uint8; raise ``OwsegError`` if its file is gone or has changed."""
        entry = self.entry(image_id)
        path = Path(self.info.root, entry.name)
        if not path.is_file():
            raise OwsegError(f"{path} is gone; put it back, or run `owseg discover` with another --out.")
        image = read_image(path)
        if file_hash(path) != entry.sha256 or image.shape[1:] != entry.size:
            raise OwsegError(f"{path} has changed since the queue was made; run `owseg discover` with another --out.")
        return image

    def thumbnail(self, region: str) -> Path:
        """Return the path of the JPEG that shows ``region``."""
        self._split(region)
        return self.folder / storage.THUMBNAILS / f"{region}.jpg"

    # Groups

    def write_groups(self, groups: Sequence[Group]) -> None:
        """Store the groups, in the order of review."""
        storage.write_groups(self.folder, groups)

    def groups(self) -> list[Group]:
        """Return the groups in the order of review; raise ``OwsegError`` if their file is missing or damaged."""
        return storage.read_groups(self.folder)

    # Decisions

    def accept(self, regions: str | Sequence[str], name: str, mask: np.ndarray | None = None) -> None:
        """Accept ``regions`` (one, or a group's) as the class ``name``.

        ``mask`` (H, W) bool corrects the mask of a single region.

        Raises ``OwsegError`` for a name that is not a class name or is known already, a region that is not in the
        queue, and a mask that is empty or of another size.
        """
        regions, name = _as_list(regions), self._new_class(name)
        action: dict[str, Any] = {"do": ACCEPT, "regions": regions, "name": name}
        if mask is not None:
            if len(regions) != 1:
                raise OwsegError("a corrected mask belongs to one region; accept the others in another call.")
            size = self.entry(self._split(regions[0])[0]).size
            if mask.shape != size or mask.dtype != bool or not mask.any():
                raise OwsegError(f"a corrected mask of {regions[0]} is bool, {size[1]}x{size[0]}, and not empty.")
            action["mask"] = Rle.of(mask).to_json()
        self._log_action(action)

    def reject(self, regions: str | Sequence[str]) -> None:
        """Reject ``regions`` (one, or a group's): they show nothing new."""
        self._log_action({"do": REJECT, "regions": _as_list(regions)})

    def mark_known(self, regions: str | Sequence[str], name: str) -> None:
        """Note that ``regions`` (one, or a group's) show the known class ``name``: they are false alarms.

        Raises ``OwsegError`` for a class that the knowledge base of the queue does not know.
        """
        if name not in self.info.classes:
            raise OwsegError(f"{name!r:.99} is no known class; known are {', '.join(self.info.classes)}.")
        self._log_action({"do": KNOWN, "regions": _as_list(regions), "name": class_name(name)})

    def rename(self, regions: str | Sequence[str], name: str) -> None:
        """Change the class of accepted ``regions`` to ``name``; their corrected masks stay.

        Raises ``OwsegError`` as ``accept`` does, and for a region that is not accepted.
        """
        regions, name = _as_list(regions), self._new_class(name)

        def are_accepted() -> bool:
            decisions = self.decisions()
            if others := [r for r in regions if r not in decisions or decisions[r].name is None]:
                raise OwsegError(f"{others[0]!r} is not accepted, so it has no name to change; accept it first.")
            return True

        self._log_action({"do": RENAME, "regions": regions, "name": name}, are_accepted)

    def undo(self) -> bool:
        """Undo the last action that holds, for all of its regions; return whether there was one."""
        return append_action(self._log.path, {"do": UNDO, "regions": []}, self._log.any_action)

    def decisions(self) -> dict[str, Decision]:
        """Return the decision about each decided region, by region."""
        return self._log.read()

    def accepted(self) -> dict[str, list[str]]:
        """Return the accepted regions by class, classes and regions in the order in which they were first accepted."""
        found: dict[str, list[str]] = {}
        for region, decision in self.decisions().items():
            if decision.name is not None:
                found.setdefault(decision.name, []).append(region)
        return found

    def images_of(self, name: str, summary: Callable[[str], ImageSummary] | None = None) -> list[str]:
        """Return the ids of the images with a region accepted as ``name``, the largest accepted area first.

        ``summary`` returns that of an image, for a caller that keeps them; by default each image is read once.
        """
        summary, area = summary or cache(lambda image_id: self.entry(image_id).summary), dict[str, int]()
        for region, decision in self.decisions().items():
            if decision.name == name:
                image_id, k = self._split(region, lambda image_id: len(summary(image_id).areas))
                own = decision.mask.area if decision.mask else summary(image_id).areas[k - 1]
                area[image_id] = area.get(image_id, 0) + own
        return sorted(area, key=lambda image_id: (-area[image_id], image_id))

    def shots(self, name: str, max_shots: int = MAX_SHOTS, images: Sequence[str] | None = None) -> list[Shot]:
        """Return at most ``max_shots`` shots of the class ``name``, the largest accepted area first.

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
        return [self._shot(self.entry(image_id), name, decisions) for image_id in order[:max_shots]]

    def _shot(self, entry: QueueImage, name: str, decisions: Mapping[str, Decision]) -> Shot:
        if any((d := decisions.get(r)) and d.mask and d.mask.size != entry.size for r in entry.ids):
            raise storage.damaged(self._log.path)
        positives, void = shot_masks(entry, name, decisions)
        return Shot(self.image(entry.id), positives, entry.name, void)

    def _new_class(self, name: str) -> str:
        """Return the name of a new class; raise ``OwsegError`` if it is none, is reserved, or known already."""
        check_class_names([name := class_name(name)])
        if name in self.info.classes:
            raise OwsegError(f"{name!r} is known already; mark the region as known, or name a new class.")
        return name

    def _split(self, region: str, regions_in: Callable[[str], int] | None = None) -> tuple[str, int]:
        """Return a region's image and its number in it, from 1; raise ``OwsegError`` if there is no such region."""
        if is_region_id(region):
            image_id, _, k = region.partition("-")
            if int(k) <= (regions_in or self._regions_in)(image_id):
                return image_id, int(k)
        raise OwsegError(f"{region!r} names no region of {self.folder}.")

    def _regions_in(self, image_id: str) -> int:
        """Return how many regions an image has; 0 for one that is not in the queue."""
        # The embeddings tell it, and are read faster than the masks.
        there = storage.has_image(self.folder, image_id)
        return len(storage.read_embeddings(self.folder, image_id)) if there else 0

    def _log_action(self, action: Mapping[str, Any], check: Callable[[], object] = lambda: True) -> None:
        regions_in = cache(self._regions_in)  # each image is read once, however many of its regions are decided
        for region in action["regions"]:
            self._split(region, regions_in)
        append_action(self._log.path, action, check)

    @cached_property
    def _log(self) -> Decisions:
        return Decisions(self.folder / DECISIONS)


def _as_list(regions: str | Sequence[str]) -> list[str]:
    listed = [regions] if isinstance(regions, str) else list(dict.fromkeys(regions))
    if not listed:
        raise OwsegError("there is no region to decide about; give a region, or those of a group.")
    return listed
