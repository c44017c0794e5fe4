"""The state of a review: what the pages show of a queue, as plain values, and a reviewer's actions, as calls."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from owseg.data.masks import Rle
from owseg.data.render import encode_jpeg, encode_png
from owseg.discovery.contents import Group, QueueImage, image_of
from owseg.discovery.decisions import Decision
from owseg.discovery.log import ACCEPT, Action
from owseg.discovery.moves import regrouped
from owseg.discovery.queue import Queue
from owseg.discovery.queue_shots import images_to_learn
from owseg.errors import OwsegError
from owseg.knowledge.regions import Region
from owseg.scorers.segments import segment_ids

T = TypeVar("T")


MAX_TYPICAL = 4
"""How many regions of a group its tile shows."""


@dataclass(frozen=True)
class Tile:
    """Summary of a group: ``typical`` are its most typical regions, ``nearest`` the known class nearest to the first.

    ``regions``, ``copies``, ``accepted``, ``rejected`` and ``known`` are counts, ``names`` the classes that regions
    were accepted as, the most frequent first.
    """

    number: int
    typical: tuple[str, ...]
    regions: int
    copies: int
    nearest: str
    accepted: int
    rejected: int
    known: int
    names: tuple[str, ...]

    @property
    def undecided(self) -> int:
        """How many regions are not decided."""
        return self.regions - self.accepted - self.rejected - self.known

    @property
    def state(self) -> str:
        """``untouched``, ``begun`` or ``done``."""
        return "done" if not self.undecided else "begun" if self.undecided < self.regions else "untouched"

    @property
    def name(self) -> str:
        """The class that most of its regions were accepted as; empty until one is named."""
        return next((name for name in self.names if not is_provisional(name)), "")

    @property
    def summary(self) -> str:
        """Its decisions in a few words, such as ``3 deer · 1 known · 2 undecided``; empty if untouched."""
        names = ", ".join(n for n in self.names if not is_provisional(n)) or "accepted"
        counts = (
            (self.accepted, names), (self.rejected, "rejected"), (self.known, "known"), (self.undecided, "undecided"),
        )  # fmt: skip
        return "" if self.state == "untouched" else " · ".join(f"{n} {what}" for n, what in counts if n)


@dataclass(frozen=True)
class Candidate:
    """An image that could be a shot of a class: ``region`` is one of the class in it, ``name`` the image's."""

    image_id: str
    name: str
    region: str
    chosen: bool


class ReviewState:
    """A queue as the pages show it.

    The queue is the only truth; what was read of it is kept for as long as nobody changes it.
    """

    def __init__(self, queue: Queue):
        self.queue = queue
        self._cache: dict[tuple[str, ...], tuple[int, Any]] = {}
        self._grouped: tuple[list[Group], tuple[Action, ...], dict[int, Group]] = [], (), {}
        # What is in a queue of an image never changes, so these need no stamp.
        self.entry: Callable[[str], QueueImage] = lru_cache(256)(queue.entry)
        self.jpeg: Callable[[str], bytes] = lru_cache(32)(self._jpeg)
        self.segments: Callable[[str], bytes] = lru_cache(32)(self._segments)

    # What the pages show

    def groups(self) -> list[Group]:
        """Return the groups in the order of review."""
        return [*self._by_number().values()]

    def _by_number(self) -> dict[int, Group]:
        """The groups in the order of review by their numbers; the same object until one changes."""
        discovered, moves = self._cached(0, self.queue.discovered), self._cached(1, self.queue.moves, "moves")
        # An action is logged with each decision, but few are moves.
        if self._grouped[0] is not discovered or self._grouped[1] != moves:
            self._grouped = discovered, moves, {g.number: g for g in regrouped(discovered, moves)}
        return self._grouped[2]

    def group(self, number: int, least: int = 0) -> Group:
        """Return the group ``number``; raise ``OwsegError`` if there is none, or all of it is hidden.

        ``least`` is as for ``shown``.
        """
        if (whole := self._by_number().get(number)) is None:
            raise OwsegError(f"there is no group {number}; the queue has {len(self._by_number())}.")
        if not (found := self.shown(whole, least)).regions:
            raise OwsegError(f"group {number} has no region of {least} pixels or more.")
        return found

    def has_group(self, number: int) -> bool:
        """Return whether there is a group ``number``."""
        return number in self._by_number()

    def shown(self, group: Group, least: int) -> Group:
        """Return ``group`` without the regions whose core has fewer than ``least`` pixels."""
        if least <= 1:  # the least that a core has
            return group
        regions = tuple(r for r in group.regions if self._area(r) >= least)
        return replace(group, regions=regions, copies={r: group.copies[r] for r in regions if r in group.copies})

    def _area(self, region: str) -> int:
        image_id, k = self._split(region)
        return self.queue.summary(image_id).areas[k]

    def arrangement(self) -> object:
        """Return an object that is the same for as long as no region changes its group."""
        return self._by_number()

    def decisions(self) -> Mapping[str, Decision]:
        """Return the decision about each decided region, by region."""
        return self._cached(1, self.queue.decisions)

    def region(self, region: str) -> Region:
        """Return a region; raise ``OwsegError`` if there is none of that id."""
        image_id, k = self._split(region)
        return self.entry(image_id).regions[k]

    def _split(self, region: str) -> tuple[str, int]:
        """Return a region's image and its number in it, from 0; raise ``OwsegError`` if there is no such region."""
        image_id, _, k = region.partition("-")
        if re.fullmatch("[1-9][0-9]{0,5}", k) and int(k) <= len(self.queue.summary(image_id).areas):
            return image_id, int(k) - 1
        raise OwsegError(f"{region[:99]!r} names no region of {self.queue.folder}.")

    def tile(self, group: Group, decisions: Mapping[str, Decision] | None = None) -> Tile:
        """Return the summary of a group; ``decisions``, as they are by default, are read once for many of them."""
        decisions = self.decisions() if decisions is None else decisions
        made = [decisions[r] for r in group.regions if r in decisions]
        names = Counter(d.name for d in made if d.name is not None)
        image_id, first = self._split(group.regions[0])
        copies, nearest = sum(map(len, group.copies.values())), self.queue.summary(image_id).nearest[first]
        accepted, known = names.total(), sum(d.known is not None for d in made)
        return Tile(
            group.number, group.regions[:MAX_TYPICAL], len(group), copies, nearest, accepted,
            len(made) - accepted - known, known, tuple(name for name, _ in names.most_common()),
        )  # fmt: skip

    def undecided(self, group: Group) -> list[str]:
        """Return the regions of a group that are not decided."""
        decisions = self.decisions()
        return [r for r in group.regions if r not in decisions]

    def progress(self) -> tuple[int, int]:
        """Return how many of the regions in groups are decided, and how many there are."""
        decisions, groups = self.decisions(), self.groups()
        return sum(r in decisions for g in groups for r in g.regions), sum(map(len, groups))

    def view(self, region: str) -> dict[str, Any]:
        """Return what the editor shows of a region, as plain JSON.

        ``image`` is the image's id, ``name`` its name, ``size`` [H, W]; ``box`` and ``counts`` (COCO's run lengths) are
        the region's; ``action`` is "" for one that is not decided, ``class`` "" for one that is neither accepted nor
        known.
        """
        found, decision = self.region(region), self.decisions().get(region)
        corrected = decision.mask if decision else None
        return {
            "region": region,
            "image": image_of(region),
            "name": found.image_id,
            "size": list(found.mask.size),
            "box": list(found.box),
            "counts": list((corrected or found.mask).counts),
            "corrected": corrected is not None,
            "action": decision.action if decision else "",
            "class": (decision.name or decision.known or "") if decision else "",
        }

    def class_names(self) -> list[str]:
        """Return the new classes that were named so far, the latest first."""
        # A dict keeps the first of equals, which here is the latest decision.
        found = dict.fromkeys(d.name for d in reversed([*self.decisions().values()]) if d.name is not None)
        return [name for name in found if not is_provisional(name)]

    def name_for(self, group: Group) -> str:
        """Return the name for regions of a group that are accepted next: that of the others, or a provisional one."""
        decisions = self.decisions()
        names = [d.name for r in group.regions if (d := decisions.get(r)) and d.name is not None]
        return next((name for name in reversed(names) if not is_provisional(name)), provisional_name(group))

    # What a reviewer does

    def accept(self, regions: Sequence[str], name: str) -> None:
        """Accept ``regions`` as ``name``; one that was accepted before keeps its corrected mask."""
        decisions = self.decisions()
        # Renamed rather than accepted again, which would discard a corrected mask.
        accepted = dict.fromkeys(r for r in regions if r in decisions and decisions[r].action == ACCEPT)
        if others := [r for r in regions if r not in accepted]:
            self.queue.accept(others, name)
        if changed := [r for r in accepted if decisions[r].name != name]:
            self.queue.rename(changed, name)

    def correct(self, region: str, name: str, counts: Any) -> None:
        """Accept a region as ``name`` with the mask of COCO's run lengths ``counts``.

        Raises ``OwsegError`` for a mask that is empty or not of the image's size.
        """
        size = self.region(region).mask.size
        # from_json checks the run lengths: they come from a browser.
        self.queue.accept(region, name, Rle.from_json({"size": list(size), "counts": counts}, size).mask())

    def name_group(self, group: Group, name: str) -> None:
        """Give the regions of a group that were accepted under a provisional name the name of a new class.

        Raises ``OwsegError`` for what is not the name of a class, is reserved, or known already; also where none was.
        """
        name, decisions = self.queue.new_class(name), self.decisions()
        # Regions that were moved here may have that of another group.
        unnamed = [r for r in group.regions if (d := decisions.get(r)) and d.name and is_provisional(d.name)]
        if unnamed and not is_provisional(name):
            self.queue.rename(unnamed, name)

    def undo(self) -> list[str]:
        """Undo the last action and return the regions that it changed; raise ``OwsegError`` if there is none."""
        before, moves = dict(self.decisions()), self.queue.moves()
        if not self.queue.undo():
            raise OwsegError("there is nothing to undo.")
        after, moved = self.decisions(), moves[len(self.queue.moves()) :]
        return [
            *(r for r in {**before, **after} if before.get(r) != after.get(r)),
            *(region for move in moved for region in move.regions),
        ]

    # Shots

    def candidates(self, name: str) -> list[Candidate]:
        """Return the images with a region of ``name``, as accepted; unless others are, the first five are chosen."""
        shown: dict[str, str] = {}
        for region, decision in self.decisions().items():
            if decision.name == name:
                shown.setdefault(image_of(region), region)
        order = self._cached(1, lambda: self.queue.images_of(name), "images", name)
        chosen = images_to_learn(order, self.queue.chosen(name))
        return [Candidate(i, self.queue.summary(i).name, shown[i], i in chosen) for i in order]

    def chosen(self, name: str) -> list[str]:
        """Return the ids of the images from which to learn ``name``."""
        return [c.image_id for c in self.candidates(name) if c.chosen]

    def _jpeg(self, image_id: str) -> bytes:
        return encode_jpeg(self.queue.image(image_id).transpose(1, 2, 0))

    def _segments(self, image_id: str) -> bytes:
        # An id is a byte each of red, green and blue: a browser reads no 16 bits of grey.
        ids = segment_ids(self.queue.image(image_id))[..., None]
        return encode_png((ids >> [0, 8, 16] & 255).astype(np.uint8))

    def _cached(self, which: int, read: Callable[[], T], *what: str) -> T:
        """Return what ``read`` makes of the queue; from memory while that number of its stamp is the same."""
        number, key = self.queue.stamp()[which], (str(which), *what)
        if key not in self._cache or self._cache[key][0] != number:
            self._cache[key] = (number, read())
        value: T = self._cache[key][1]
        return value


def provisional_name(group: Group) -> str:
    """Return the name under which regions of a group are accepted until a reviewer has named the class."""
    return f"group {group.number}"


def is_provisional(name: str) -> bool:
    """Return whether a name is only that of a group."""
    return re.fullmatch("group [0-9]+", name) is not None
