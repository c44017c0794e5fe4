"""The desk: what a page shows of a queue, as plain values, and what a person does there, as calls of the queue."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from owseg._files import write_whole
from owseg.data.masks import Rle
from owseg.data.render import encode_jpeg
from owseg.discovery.decisions import ACCEPT, DECISIONS, Decision, class_name
from owseg.discovery.queue import Queue
from owseg.discovery.storage import GROUPS, Group, QueueImage
from owseg.errors import OwsegError
from owseg.knowledge.regions import Region
from owseg.types import MAX_SHOTS

T = TypeVar("T")


_CHOICE = "shots.json"


@dataclass(frozen=True)
class Tile:
    """A group at a glance: ``face`` is its most typical region, ``nearest`` the known class nearest to that."""

    number: int
    face: str
    regions: int
    copies: int
    nearest: str
    accepted: int
    rejected: int
    names: tuple[str, ...]

    @property
    def left(self) -> int:
        """How many regions nobody has decided about."""
        return self.regions - self.accepted - self.rejected

    @property
    def state(self) -> str:
        """Return ``untouched``, ``begun`` or ``done``."""
        return "done" if not self.left else "begun" if self.left < self.regions else "untouched"


@dataclass(frozen=True)
class Candidate:
    """An image that could be a shot: its id and name, a region of the class in it, whether it is chosen."""

    image: str
    name: str
    face: str
    chosen: bool


class ReviewState:
    """A queue as a page shows it.

    What holds is on the disk alone; the desk only keeps what it read for as long as the file it came from is the same.
    """

    def __init__(self, queue: Queue):
        self.queue = queue
        self._kept: dict[tuple[Path, str], tuple[object, Any]] = {}
        self.entry: Callable[[str], QueueImage] = lru_cache(256)(queue.entry)
        self.jpeg: Callable[[str], bytes] = lru_cache(32)(self._jpeg)

    # What is there

    def groups(self) -> list[Group]:
        """Return the groups in the order in which to look at them."""
        return self._fresh(self.queue.folder / GROUPS, self.queue.groups)

    def group(self, number: int) -> Group:
        """Return the group ``number``, counted from 1; raise ``OwsegError`` if there is none."""
        groups = self.groups()
        if not 1 <= number <= len(groups):
            raise OwsegError(f"there is no group {number}; the queue has {len(groups)}.")
        return groups[number - 1]

    def decisions(self) -> Mapping[str, Decision]:
        """Return what was decided, by region."""
        return self._fresh(self.queue.folder / DECISIONS, self.queue.decisions)

    def region(self, region: str) -> Region:
        """Return a region; raise ``OwsegError`` if there is none of that name."""
        one, _, k = region.partition("-")
        if re.fullmatch("[1-9][0-9]{0,5}", k) and int(k) <= len((entry := self.entry(one)).regions):
            return entry.regions[int(k) - 1]
        raise OwsegError(f"{region[:99]!r} names no region of {self.queue.folder}.")

    def tile(self, group: Group) -> Tile:
        """Return a group at a glance."""
        decisions = self.decisions()
        said = [decisions[r] for r in group.regions if r in decisions]
        names = Counter(d.name for d in said if d.name is not None)
        copies, face = sum(map(len, group.copies.values())), group.regions[0]
        accepted = names.total()
        return Tile(
            group.number, face, len(group), copies, self.region(face).nearest, accepted, len(said) - accepted,
            tuple(name for name, _ in names.most_common()),
        )  # fmt: skip

    def left(self, group: Group) -> list[str]:
        """Return the regions of a group that nobody has decided about."""
        decisions = self.decisions()
        return [r for r in group.regions if r not in decisions]

    def progress(self) -> tuple[int, int]:
        """Return how many of the regions in groups are decided, and how many there are."""
        decisions, groups = self.decisions(), self.groups()
        return sum(r in decisions for g in groups for r in g.regions), sum(map(len, groups))

    def view(self, region: str) -> dict[str, Any]:
        """Return what the editor shows of a region, as JSON: the image, its size, the mask in run lengths."""
        found, decision = self.region(region), self.decisions().get(region)
        corrected = decision.mask if decision else None
        return {
            "region": region,
            "image": region.partition("-")[0],
            "name": found.image_id,
            "size": list(found.mask.size),
            "box": list(found.box),
            "counts": list((corrected or found.mask).counts),
            "corrected": corrected is not None,
            "verdict": decision.verdict if decision else "",
            "said": (decision.name or "") if decision else "",
        }

    def names(self) -> list[str]:
        """Return the new classes that were named so far, the latest first."""
        found = dict.fromkeys(d.name for d in reversed([*self.decisions().values()]) if d.name is not None)
        return [name for name in found if not is_provisional(name)]

    def name_of(self, group: Group) -> str:
        """Return the name under which to accept regions of a group: as others of it, else a provisional one."""
        said = [d.name for r in group.regions if (d := self.decisions().get(r)) and d.name is not None]
        return said[-1] if said else provisional(group)

    # What a person does

    def accept(self, regions: Sequence[str], name: str) -> None:
        """Accept ``regions`` as ``name``; one that was accepted before keeps its corrected mask under the new name."""
        decisions = self.decisions()
        held = [r for r in regions if r in decisions and decisions[r].verdict == ACCEPT]
        if fresh := [r for r in regions if r not in held]:
            self.queue.accept(fresh, name)
        if changed := [r for r in held if decisions[r].name != name]:
            self.queue.rename(changed, name)

    def correct(self, region: str, name: str, counts: Any) -> None:
        """Accept a region as ``name`` with the mask that a person drew, in COCO's run lengths.

        Raises ``OwsegError`` for one that is not of the image's size, or empty.
        """
        size = self.region(region).mask.size
        self.queue.accept(region, name, Rle.from_json({"size": list(size), "counts": counts}, size).mask())

    def name_group(self, group: Group, name: str) -> None:
        """Give what was accepted in a group under its provisional name the name of a class."""
        name, decisions = class_name(name), self.decisions()
        before = provisional(group)
        unnamed = [r for r in group.regions if r in decisions and decisions[r].name == before]
        if unnamed and name != before:
            self.queue.rename(unnamed, name)

    def undo(self) -> list[str]:
        """Take the last action back and return the regions that it was about; raise ``OwsegError`` if there is none."""
        before = dict(self.decisions())
        if not self.queue.undo():
            raise OwsegError("there is nothing to undo.")
        after = self.decisions()
        return [r for r in {**before, **after} if before.get(r) != after.get(r)]

    # Shots

    def candidates(self, name: str) -> list[Candidate]:
        """Return the images that show ``name``, those first that show most of it; at most five are chosen."""
        faces: dict[str, str] = {}
        for region, decision in self.decisions().items():
            if decision.name == name:
                faces.setdefault(region.partition("-")[0], region)
        order = self._fresh(self.queue.folder / DECISIONS, lambda: self.queue.showing(name), name)
        chosen = [one for one in self._choices().get(name, ()) if one in faces] or order[:MAX_SHOTS]
        return [Candidate(one, self.entry(one).name, faces[one], one in chosen) for one in order]

    def choose(self, name: str, images: Sequence[str]) -> None:
        """Learn ``name`` from ``images``, by their ids; raise ``OwsegError`` for none, too many, or another."""
        shown = [c.image for c in self.candidates(name)]
        if not 1 <= len(images) <= MAX_SHOTS or not set(images) <= set(shown):
            raise OwsegError(f"{name!r} is learned from 1 to {MAX_SHOTS} of the images that were accepted for it.")
        value = {**self._choices(), name: list(images)}
        write_whole(self.queue.folder / _CHOICE, json.dumps(value).encode())

    def chosen(self, name: str) -> list[str]:
        """Return the ids of the images from which to learn ``name``."""
        return [c.image for c in self.candidates(name) if c.chosen]

    def _choices(self) -> dict[str, list[str]]:
        path = self.queue.folder / _CHOICE
        try:
            value = json.loads(path.read_bytes())
            return {str(name): [str(one) for one in several] for name, several in value.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError):
            raise OwsegError(f"{path} is damaged; delete it, and choose the shots again.") from None

    def _jpeg(self, one: str) -> bytes:
        return encode_jpeg(self.queue.image(one).transpose(1, 2, 0))

    def _fresh(self, path: Path, read: Callable[[], T], what: str = "") -> T:
        """Return what ``read`` makes of a file, from memory as long as the file is the same."""
        try:
            stat = path.stat()
            stamp: object = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        except FileNotFoundError:
            stamp = None
        key = path, what
        if key not in self._kept or self._kept[key][0] != stamp:
            self._kept[key] = (stamp, read())
        return self._kept[key][1]


def provisional(group: Group) -> str:
    """Return the name under which regions of a group are accepted before anybody has said what they are."""
    return f"group {group.number}"


def is_provisional(name: str) -> bool:
    """Say whether a name is only a group's number."""
    return re.fullmatch("group [0-9]+", name) is not None
