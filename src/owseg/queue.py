"""The queue: a folder of unknown regions, and what a person decided about each of them.

    queue.json           which knowledge base found them, with which settings, in pictures below which folder
    pictures/ID.json     a picture: its name below that folder, its hash, what is unknown in it, its regions
    pictures/ID.npy      the regions' embeddings (n, C) float32
    thumbnails/ID-K.jpg  its K-th region, outlined
    groups.json          the regions in groups, in the order in which to look at them
    groups.jpg           the same as one picture
    decisions.jsonl      one line for every action, in the order in which they were taken

Pictures stay where they are. Everything is written whole, ``ID.json`` after what belongs to it, and a decision is on
the disk before ``accept``, ``reject``, ``rename`` or ``undo`` returns: a kill loses nothing. What a file names lies
below the queue or below the folder of the pictures, and a picture is used only if it still has the hash that it had.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from scipy import ndimage

from owseg.data.images import read_image
from owseg.errors import OwsegError
from owseg.files import write_whole
from owseg.learners.shots import MAX_SHOTS, Shot
from owseg.regions import Found, Region, Rle

FORMAT = 1
MARGIN = 0.02
"""How far around a region as it was found nobody knows where the thing ends, as a share of the shorter side."""
LONGEST_NAME = 60
"""How many characters the name of a class may have."""
ACCEPT, REJECT, RENAME = "accept", "reject", "rename"

_QUEUE, _GROUPS, _DECISIONS, _PICTURES, _THUMBNAILS = (
    "queue.json", "groups.json", "decisions.jsonl", "pictures", "thumbnails",
)  # fmt: skip


@dataclass(frozen=True)
class About:
    """Where a queue is from: the knowledge base (what it is called, its fingerprint, its classes), the folder ``root``
    that all pictures lie below, and the settings of ``find_regions``."""

    kb: str
    fingerprint: str
    classes: tuple[str, ...]
    root: str
    min_area: float
    split_at: float


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture of a queue: ``name`` is its path below the root, ``size`` (H, W), ``unknown`` every unknown pixel.

    The regions are called ``ID-1``, ``ID-2``, ..., ``id`` being the picture's.
    """

    id: str
    name: str
    sha256: str
    size: tuple[int, int]
    unknown: Rle
    regions: tuple[Region, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """The regions' ids."""
        return tuple(f"{self.id}-{k}" for k in range(1, len(self.regions) + 1))


@dataclass(frozen=True)
class Group:
    """Regions that look alike, the most typical first; ``copies`` are those that one of them stands for.

    ``number`` counts from 1 in the order in which to look at them, ``worth`` is what that order is made from.
    """

    number: int
    regions: tuple[str, ...]
    copies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    worth: float = 0.0

    def __len__(self) -> int:
        return len(self.regions)


@dataclass(frozen=True)
class Decision:
    """What a person said of a region: accepted as the class ``name``, its ``mask`` where it was corrected; or not."""

    verdict: str
    name: str | None = None
    mask: Rle | None = None


@dataclass(frozen=True)
class Queue:
    """A queue on disk. It holds no state of its own: what another process decides is seen at once."""

    folder: Path
    about: About

    @classmethod
    def begin(cls, folder: str | Path, about: About) -> Queue:
        """Start a queue in ``folder``, or go on with the one that is there.

        Raises ``OwsegError`` where that one was made by another knowledge base, with other settings or of other
        pictures, and where the folder holds something else.
        """
        folder = Path(folder)
        if (folder / _QUEUE).exists():
            queue = cls.open(folder)
            for what, ours, theirs in (
                ("another knowledge base", about.fingerprint, queue.about.fingerprint),
                ("pictures below another folder", about.root, queue.about.root),
                ("other settings", (about.min_area, about.split_at), (queue.about.min_area, queue.about.split_at)),
            ):
                if ours != theirs:
                    raise OwsegError(f"{folder} holds a queue of {what} ({theirs}, not {ours}); give another --out.")
            return queue
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OwsegError(f"{folder} holds something that is no queue; give --out a new or empty folder.")
        _write_json(folder / _QUEUE, vars(about))
        return cls(folder, about)

    @classmethod
    def open(cls, folder: str | Path) -> Queue:
        """Open a queue; raise ``OwsegError`` for what is none, or one that is damaged or of another format."""
        folder = Path(folder)
        if not (folder / _QUEUE).is_file():
            raise OwsegError(f"{folder} is no queue; make one with `owseg discover KB PICTURES --out {folder}`.")
        with _reading(folder / _QUEUE) as value:
            about = About(**{**value, "classes": tuple(map(str, value["classes"]))})
            texts, numbers = (about.kb, about.fingerprint, about.root), (about.min_area, about.split_at)
            if not all(isinstance(v, str) for v in texts) or not all(isinstance(v, int | float) for v in numbers):
                raise ValueError
            if not Path(about.root).is_absolute():
                raise ValueError
        return cls(folder, about)

    # Pictures and regions

    def has(self, name: str) -> bool:
        """Say whether the picture ``name`` was looked at."""
        return (self.folder / _PICTURES / f"{picture_id(name)}.json").exists()

    def add(self, name: str, digest: str, found: Found, thumbnails: Sequence[bytes]) -> str:
        """Store what was found in the picture ``name``, whose file has the SHA-256 ``digest``; return its id."""
        one = picture_id(name)
        for k, jpeg in enumerate(thumbnails, 1):
            write_whole(self.folder / _THUMBNAILS / f"{one}-{k}.jpg", jpeg)
        embeddings = np.stack([r.embedding for r in found.regions]) if found.regions else np.zeros((0, 0), np.float32)
        buffer = io.BytesIO()
        np.save(buffer, embeddings.astype(np.float32), allow_pickle=False)
        write_whole(self.folder / _PICTURES / f"{one}.npy", buffer.getvalue())
        plain = ("area", "mean", "peak", "nearest", "distance")
        regions = [
            {
                "mask": r.mask.to_json(),
                "core": r.core.to_json(),
                "box": list(r.box),
                **{k: getattr(r, k) for k in plain},
            }
            for r in found.regions
        ]
        unknown = Rle.of(found.unknown)
        value = {"name": name, "sha256": digest, "size": list(unknown.size)}
        _write_json(
            self.folder / _PICTURES / f"{one}.json", {**value, "unknown": unknown.to_json(), "regions": regions}
        )
        return one

    def pictures(self) -> list[str]:
        """Return the ids of the pictures that were looked at, sorted."""
        folder = self.folder / _PICTURES
        return sorted(p.stem for p in folder.glob("*.json") if _is_picture(p.stem)) if folder.is_dir() else []

    def picture(self, one: str) -> Picture:
        """Return the picture called ``one``; raise ``OwsegError`` if there is none or its file is damaged."""
        if not _is_picture(one):
            raise OwsegError(f"{one!r} names no picture of {self.folder}.")
        embeddings = self.embeddings(one)
        with _reading(self.folder / _PICTURES / f"{one}.json") as value:
            size, name = (int(value["size"][0]), int(value["size"][1])), _below(value["name"])
            if picture_id(name) != one or min(size) < 1:
                raise ValueError
            regions = [_region(name, v, size, e) for v, e in zip(value["regions"], embeddings, strict=True)]
            unknown = Rle.from_json(value["unknown"], size)
            return Picture(one, name, str(value["sha256"]), size, unknown, tuple(regions))

    def embeddings(self, one: str) -> np.ndarray:
        """Return the embeddings (n, C) float32 of the picture ``one``."""
        path = self.folder / _PICTURES / f"{one}.npy"
        try:
            found = np.load(path, allow_pickle=False)
            if found.ndim == 2 and found.dtype == np.float32 and np.isfinite(found).all():
                return found
        except (OSError, ValueError, EOFError):
            pass
        raise _damaged(path)

    def region(self, region: str) -> Region:
        """Return the region called ``region``; raise ``OwsegError`` if there is none."""
        one, k = self._split(region)
        return self.picture(one).regions[k - 1]

    def path(self, one: str) -> Path:
        """Return where the picture ``one`` lies."""
        return Path(self.about.root, self.picture(one).name)

    def image(self, one: str) -> np.ndarray:
        """Return the pixels of the picture ``one``, (3, H, W) uint8; refuse a file that is not the one looked at."""
        picture = self.picture(one)
        path = Path(self.about.root, picture.name)
        if not path.is_file():
            raise OwsegError(f"{path} is gone; put it back, or run `owseg discover` with another --out.")
        image = read_image(path)
        if file_hash(path) != picture.sha256 or image.shape[1:] != picture.size:
            raise OwsegError(f"{path} has changed since it was looked at; run `owseg discover` with another --out.")
        return image

    def thumbnail(self, region: str) -> Path:
        """Return where the JPEG of ``region`` lies."""
        self._split(region)
        return self.folder / _THUMBNAILS / f"{region}.jpg"

    # Groups

    def write_groups(self, groups: Sequence[Group]) -> None:
        """Store the groups, in the order in which to look at them."""
        listed = [{"regions": g.regions, "copies": dict(g.copies), "worth": g.worth} for g in groups]
        _write_json(self.folder / _GROUPS, {"groups": listed})

    def groups(self) -> list[Group]:
        """Return the groups in the order in which to look at them; raise ``OwsegError`` if they are damaged."""
        with _reading(self.folder / _GROUPS) as value:
            made = []
            for number, g in enumerate(value["groups"], 1):
                copies = {r: tuple(c) for r, c in g["copies"].items()}
                made.append(Group(number, tuple(g["regions"]), copies, float(g["worth"])))
                named = (*made[-1].regions, *copies, *(c for several in copies.values() for c in several))
                if not all(map(_is_region, named)):
                    raise ValueError
            return made

    # Decisions

    def accept(self, regions: str | Sequence[str], name: str, mask: np.ndarray | None = None) -> None:
        """Say that ``regions`` (one, or a group's) are of the class ``name``.

        ``mask`` (H, W) bool corrects that of a single one.

        Raises ``OwsegError`` for a name that is none, too long or known already, a region that is not there, and a
        mask that does not fit or is empty.
        """
        regions, name = _several(regions), self._new(name)
        line: dict[str, Any] = {"do": ACCEPT, "regions": regions, "name": name}
        if mask is not None:
            if len(regions) != 1:
                raise OwsegError("a corrected mask is of one region; accept the others by themselves.")
            size = self.picture(self._split(regions[0])[0]).size
            if mask.shape != size or mask.dtype != bool or not mask.any():
                raise OwsegError(f"a corrected mask of {regions[0]} is bool, {size[1]}x{size[0]}, and not empty.")
            line["mask"] = Rle.of(mask).to_json()
        self._append(line)

    def reject(self, regions: str | Sequence[str]) -> None:
        """Say that ``regions`` (one, or a group's) show nothing new."""
        self._append({"do": REJECT, "regions": _several(regions)})

    def rename(self, regions: str | Sequence[str], name: str) -> None:
        """Say that accepted ``regions`` are of the class ``name`` instead; their corrected masks stay.

        Raises ``OwsegError`` as ``accept`` does, and for a region that is not accepted.
        """
        regions, name, held = _several(regions), self._new(name), self.decisions()
        if stray := [r for r in regions if r not in held or held[r].name is None]:
            raise OwsegError(f"{stray[0]!r} is not accepted, so it has no name to change; accept it first.")
        self._append({"do": RENAME, "regions": regions, "name": name})

    def undo(self) -> bool:
        """Take the last action back that still holds, a whole group's if it was one; say whether there was any."""
        there_was = bool(self._actions())
        if there_was:
            self._append({"do": "undo", "regions": []})
        return there_was

    def decisions(self) -> dict[str, Decision]:
        """Return what holds now, by region; what was not decided is not in it."""
        found: dict[str, Decision] = {}
        for line in self._actions():
            mask = None
            if "mask" in line:
                with self._sound():
                    mask = Rle.from_json(line["mask"], (line["mask"]["size"][0], line["mask"]["size"][1]))
            for region in line["regions"]:
                if line["do"] == RENAME:
                    with self._sound():
                        mask = found[region].mask
                found[region] = Decision(REJECT if line["do"] == REJECT else ACCEPT, line.get("name"), mask)
        return found

    def accepted(self) -> dict[str, list[str]]:
        """Return the accepted regions by class, classes and regions in the order in which they were first accepted."""
        found: dict[str, list[str]] = {}
        for region, decision in self.decisions().items():
            if decision.name is not None:
                found.setdefault(decision.name, []).append(region)
        return found

    def showing(self, name: str) -> list[str]:
        """Return the ids of the pictures with a region accepted as ``name``, those first that show most of it."""
        area: dict[str, int] = {}
        for region, decision in self.decisions().items():
            if decision.name == name:
                drawn = decision.mask or self.region(region).core
                one = self._split(region)[0]
                area[one] = area.get(one, 0) + drawn.area
        return sorted(area, key=lambda one: (-area[one], one))

    def shots(self, name: str, most: int = MAX_SHOTS, pictures: Sequence[str] | None = None) -> list[Shot]:
        """Return at most ``most`` pictures of the class ``name`` to learn it from, those first that show most of it.

        ``pictures``, by their ids, are taken instead if they are given, those that do not show the class left out.

        A shot's mask is every accepted region of the class in that picture: its corrected mask, else its core. What was
        rejected, or accepted as another class, is not of it; nor are pixels that the knowledge base knows. Void, since
        nobody has said what they are, are all other unknown pixels, and those within ``MARGIN`` of a mask that nobody
        has corrected. Raises ``OwsegError`` if nothing of the class was accepted, or a picture has changed.
        """
        decisions, best = self.decisions(), self.showing(name)
        if pictures is not None:
            best = [one for one in best if one in pictures]
        if not best:
            there = ", ".join(self.accepted()) or "nothing yet"
            raise OwsegError(f"no region of {self.folder} was accepted as {name!r}; accepted: {there}.")
        return [self._shot(self.picture(one), name, decisions) for one in best[:most]]

    def _shot(self, picture: Picture, name: str, decisions: Mapping[str, Decision]) -> Shot:
        mask, other, rough = np.zeros((3, *picture.size), bool)
        void = picture.unknown.mask()
        for region, found in zip(picture.ids, picture.regions, strict=True):
            decision, whole = decisions.get(region), found.mask.mask()
            void |= whole
            if decision is None:
                continue
            if decision.mask and decision.mask.size != picture.size:
                raise _damaged(self.folder / _DECISIONS)
            drawn = decision.mask.mask() if decision.mask else None
            if decision.name != name:
                other |= whole if drawn is None else drawn
            elif drawn is None:
                mask |= found.core.mask()
                rough |= whole
            else:
                mask |= drawn
        if rough.any():
            void |= ndimage.distance_transform_edt(~rough) <= MARGIN * min(picture.size)
        return Shot(self.image(picture.id), mask, picture.name, void & ~mask & ~other)

    def _new(self, name: str) -> str:
        """Return a class's name; raise ``OwsegError`` if it is none, or known already."""
        if (name := class_name(name)) in self.about.classes:
            raise OwsegError(f"{name!r} is known already; reject the region, or name a new class.")
        return name

    @contextmanager
    def _sound(self) -> Iterator[None]:
        """Say in one sentence that the decisions are damaged."""
        try:
            yield
        except (OwsegError, ValueError, TypeError, KeyError, IndexError):
            raise _damaged(self.folder / _DECISIONS) from None

    def _split(self, region: str) -> tuple[str, int]:
        """Return the picture's id and the number of a region; raise ``OwsegError`` for what names none."""
        if _is_region(region):
            one, _, k = region.partition("-")
            if (self.folder / _PICTURES / f"{one}.json").exists() and int(k) <= len(self.embeddings(one)):
                return one, int(k)
        raise OwsegError(f"{region!r} names no region of {self.folder}.")

    def _append(self, line: dict[str, Any]) -> None:
        for region in line["regions"]:
            self._split(region)
        path = self.folder / _DECISIONS
        text = json.dumps({**line, "when": datetime.now(timezone.utc).isoformat(timespec="seconds")}) + "\n"
        try:
            with path.open("ab+") as file:
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)  # nobody was told that a torn line had been stored
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise OwsegError(f"{path} cannot be written ({reason}); make room.") from None

    def _actions(self) -> list[dict[str, Any]]:
        """Return the actions that hold, in their order: what was undone is left out."""
        path = self.folder / _DECISIONS
        held: list[dict[str, Any]] = []
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        for text in lines:
            try:
                line = json.loads(text)
                if line["do"] == "undo":
                    held.pop()
                elif (
                    line["do"] in (ACCEPT, REJECT, RENAME)
                    and all(map(_is_region, line["regions"]))
                    and (line["do"] == REJECT or class_name(line["name"]) == line["name"])
                ):
                    held.append(line)
                else:
                    raise ValueError
            except (ValueError, TypeError, KeyError, IndexError, AttributeError):
                raise _damaged(path) from None
        return held


def picture_id(name: str) -> str:
    """Return what a picture is called in the queue: the first 16 hexadecimal digits of the SHA-256 of its name."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def class_name(name: str) -> str:
    """Return a class's name without the blanks around it; raise ``OwsegError`` unless it is a line of plain text."""
    plain = name.strip() if isinstance(name, str) else ""
    if not plain or len(plain) > LONGEST_NAME or not plain.isprintable():
        raise OwsegError(f"{name!r:.99} is no class name; write 1 to {LONGEST_NAME} letters on one line.")
    return plain


def _region(name: str, value: Mapping[str, Any], size: tuple[int, int], embedding: np.ndarray) -> Region:
    x, y, width, height = (int(v) for v in value["box"])
    distance = None if value["distance"] is None else float(value["distance"])
    mask, core = Rle.from_json(value["mask"], size), Rle.from_json(value["core"], size)
    if mask.area != value["area"] or core.area < 1 or (core.mask() & ~mask.mask()).any():
        raise ValueError
    figures = float(value["mean"]), float(value["peak"])
    return Region(
        name, mask, core, (x, y, width, height), mask.area, *figures, embedding, str(value["nearest"]), distance
    )


def _below(name: Any) -> str:
    """Return ``name`` if it stays below the folder that it is relative to."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise ValueError
    return str(name)


def _is_picture(one: Any) -> bool:
    return isinstance(one, str) and re.fullmatch("[0-9a-f]{16}", one) is not None


def _is_region(region: Any) -> bool:
    return isinstance(region, str) and re.fullmatch("[0-9a-f]{16}-[1-9][0-9]{0,5}", region) is not None


def _several(regions: str | Sequence[str]) -> list[str]:
    several = [regions] if isinstance(regions, str) else list(dict.fromkeys(regions))
    if not several:
        raise OwsegError("there is no region to decide about; name one, or a group's.")
    return several


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_whole(path, json.dumps({"format": FORMAT, **value}, allow_nan=False).encode())


@contextmanager
def _reading(path: Path) -> Iterator[dict[str, Any]]:
    """Yield what is in a file of this format; whatever is amiss with it ends in one sentence."""
    try:
        value = json.loads(path.read_bytes())
        number = value.pop("format")
    except FileNotFoundError:
        raise OwsegError(f"{path} is missing; run `owseg discover` again, and it goes on where it stopped.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise _damaged(path) from None
    if number != FORMAT:
        raise OwsegError(f"{path} is of format {number!r}; this owseg reads format {FORMAT}.")
    try:
        yield value
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError):
        raise _damaged(path) from None


def _damaged(path: Path) -> OwsegError:
    return OwsegError(f"{path} is damaged; restore it, or delete it and run `owseg discover` again.")
