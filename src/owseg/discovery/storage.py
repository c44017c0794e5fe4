"""What lies in a queue's folder: the values, and the files that they are in. Nothing that a file says is trusted."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from owseg._files import write_whole
from owseg.data.masks import Rle
from owseg.errors import OwsegError
from owseg.knowledge.regions import Region, RegionProposals

FORMAT = 1


QUEUE, GROUPS, PICTURES, THUMBNAILS = "queue.json", "groups.json", "pictures", "thumbnails"


@dataclass(frozen=True)
class About:
    """Where a queue is from: the knowledge base (what it is called, its fingerprint, its classes), the folder ``root``
    that all images lie below, and the settings of ``find_regions``."""

    kb: str
    fingerprint: str
    classes: tuple[str, ...]
    root: str
    min_area: float
    split_at: float


@dataclass(frozen=True, eq=False)
class QueueImage:
    """One image of a queue: ``name`` is its path below the root, ``size`` (H, W), ``unknown`` every unknown pixel.

    The regions are called ``ID-1``, ``ID-2``, ..., ``id`` being the image's.
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

    ``number`` counts from 1 in the order in which to look at them, ``priority`` is what that order is made from.
    """

    number: int
    regions: tuple[str, ...]
    copies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    priority: float = 0.0

    def __len__(self) -> int:
        return len(self.regions)


def image_id(name: str) -> str:
    """Return what an image is called in the queue: the first 16 hexadecimal digits of the SHA-256 of its name."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def is_image(one: Any) -> bool:
    """Say whether this could be an image's id."""
    return isinstance(one, str) and re.fullmatch("[0-9a-f]{16}", one) is not None


def is_region(region: Any) -> bool:
    """Say whether this could be a region's id."""
    return isinstance(region, str) and re.fullmatch("[0-9a-f]{16}-[1-9][0-9]{0,5}", region) is not None


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def damaged(path: Path) -> OwsegError:
    """Return what to say of a file that holds what it should not."""
    return OwsegError(f"{path} is damaged; restore it, or delete it and run `owseg discover` again.")


def is_queue(folder: Path) -> bool:
    """Say whether a queue lies in ``folder``."""
    return (folder / QUEUE).is_file()


def write_about(folder: Path, about: About) -> None:
    """Store where the queue is from."""
    _write_json(folder / QUEUE, vars(about))


def read_about(folder: Path) -> About:
    """Return where the queue is from; raise ``OwsegError`` if that is damaged or of another format."""
    with _reading(folder / QUEUE) as value:
        about = About(**{**value, "classes": tuple(map(str, value["classes"]))})
        texts, numbers = (about.kb, about.fingerprint, about.root), (about.min_area, about.split_at)
        if not all(isinstance(v, str) for v in texts) or not all(isinstance(v, int | float) for v in numbers):
            raise ValueError
        if not Path(about.root).is_absolute():
            raise ValueError
        return about


def has_image(folder: Path, one: str) -> bool:
    """Say whether the image called ``one`` was looked at."""
    return (folder / PICTURES / f"{one}.json").exists()


def image_ids(folder: Path) -> list[str]:
    """Return the ids of the images that were looked at, sorted."""
    return sorted(path.stem for path in (folder / PICTURES).glob("*.json") if is_image(path.stem))


def write_image_entry(folder: Path, name: str, digest: str, found: RegionProposals, thumbnails: Sequence[bytes]) -> str:
    """Store what was found in the image ``name``, whose file has the SHA-256 ``digest``; return its id."""
    one = image_id(name)
    for k, jpeg in enumerate(thumbnails, 1):
        write_whole(folder / THUMBNAILS / f"{one}-{k}.jpg", jpeg)
    embeddings = np.stack([r.embedding for r in found.regions]) if found.regions else np.zeros((0, 0), np.float32)
    buffer = io.BytesIO()
    np.save(buffer, embeddings.astype(np.float32), allow_pickle=False)
    write_whole(folder / PICTURES / f"{one}.npy", buffer.getvalue())
    plain = ("area", "mean", "peak", "nearest", "distance")
    regions = [
        {"mask": r.mask.to_json(), "core": r.core.to_json(), "box": list(r.box), **{k: getattr(r, k) for k in plain}}
        for r in found.regions
    ]
    unknown = Rle.of(found.unknown)
    value = {"name": name, "sha256": digest, "size": list(unknown.size)}
    _write_json(folder / PICTURES / f"{one}.json", {**value, "unknown": unknown.to_json(), "regions": regions})
    return one


def read_image_entry(folder: Path, one: str) -> QueueImage:
    """Return the image called ``one``; raise ``OwsegError`` if there is none or its file is damaged."""
    if not is_image(one):
        raise OwsegError(f"{one!r} names no image of {folder}.")
    embeddings = read_embeddings(folder, one)
    with _reading(folder / PICTURES / f"{one}.json") as value:
        size, name = (int(value["size"][0]), int(value["size"][1])), _below(value["name"])
        if image_id(name) != one or min(size) < 1:
            raise ValueError
        regions = [_region(name, v, size, e) for v, e in zip(value["regions"], embeddings, strict=True)]
        unknown = Rle.from_json(value["unknown"], size)
        return QueueImage(one, name, str(value["sha256"]), size, unknown, tuple(regions))


def read_embeddings(folder: Path, one: str) -> np.ndarray:
    """Return the regions' embeddings (n, C) float32 of the image ``one``; raise ``OwsegError`` if damaged."""
    path = folder / PICTURES / f"{one}.npy"
    try:
        found = np.load(path, allow_pickle=False)
        if found.ndim == 2 and found.dtype == np.float32 and np.isfinite(found).all():
            return found
    except (OSError, ValueError, EOFError):
        pass
    raise damaged(path)


def write_groups(folder: Path, groups: Sequence[Group]) -> None:
    """Store the groups, in the order in which to look at them."""
    listed = [{"regions": g.regions, "copies": dict(g.copies), "worth": g.priority} for g in groups]
    _write_json(folder / GROUPS, {"groups": listed})


def read_groups(folder: Path) -> list[Group]:
    """Return the groups in the order in which to look at them; raise ``OwsegError`` if they are damaged."""
    with _reading(folder / GROUPS) as value:
        made = []
        for number, g in enumerate(value["groups"], 1):
            copies = {r: tuple(c) for r, c in g["copies"].items()}
            made.append(Group(number, tuple(g["regions"]), copies, float(g["worth"])))
            named = (*made[-1].regions, *copies, *(c for several in copies.values() for c in several))
            if not all(map(is_region, named)):
                raise ValueError
        return made


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
        raise damaged(path) from None
    if number != FORMAT:
        raise OwsegError(f"{path} is of format {number!r}; this owseg reads format {FORMAT}.")
    try:
        yield value
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError):
        raise damaged(path) from None
