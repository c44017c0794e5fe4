"""The files in a queue's folder, and the values that they hold. Nothing that a file says is trusted."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np

from owseg._files import MAX_ANNOTATIONS, MAX_TEXT, read_json, write_whole
from owseg.data.masks import Rle
from owseg.errors import OwsegError
from owseg.knowledge.regions import Region, RegionProposals

FORMAT = 1


QUEUE, GROUPS, THUMBNAILS = "queue.json", "groups.json", "thumbnails"
IMAGES = "pictures"  # the name that this folder has in format 1


@dataclass(frozen=True)
class QueueInfo:
    """How a queue was made.

    ``kb`` is the name of the knowledge base, ``fingerprint`` its fingerprint, ``classes`` the names of its classes;
    ``root`` is the folder that all images lie below; ``min_area`` and ``split_at`` are the settings of
    ``KnowledgeBase.regions``.
    """

    kb: str
    fingerprint: str
    classes: tuple[str, ...]
    root: str
    min_area: float
    split_at: float


@dataclass(frozen=True)
class ImageSummary:
    """What lists of regions need of an image, so little that those of a whole queue fit into memory.

    ``name`` is the image's; of each region ``areas`` has the pixels of its core, ``nearest`` the nearest known class.
    """

    name: str
    areas: tuple[int, ...]
    nearest: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class QueueImage:
    """One image of a queue.

    ``name`` is its path below ``QueueInfo.root``, ``sha256`` the hash of its file, ``size`` is (H, W), ``unknown`` the
    mask of every unknown pixel. The ids of its regions are ``ID-1``, ``ID-2``, ..., where ``ID`` is its own ``id``.
    """

    id: str
    name: str
    sha256: str
    size: tuple[int, int]
    unknown: Rle
    regions: tuple[Region, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of its regions."""
        return tuple(f"{self.id}-{k}" for k in range(1, len(self.regions) + 1))

    @property
    def summary(self) -> ImageSummary:
        """What lists of regions need of it."""
        return ImageSummary(self.name, tuple(r.core.area for r in self.regions), tuple(r.nearest for r in self.regions))

    def __repr__(self) -> str:
        return f"QueueImage({self.id}, {self.name}, {self.size[1]}x{self.size[0]}, {len(self.regions)} regions)"


@dataclass(frozen=True)
class Group:
    """Similar regions, the most typical first.

    ``number`` counts from 1 in the order of review; ``copies`` has, by region, the ids of its near-duplicates in
    neighbouring frames, which are not reviewed by themselves; ``priority`` is the sum of the regions' priorities (see
    ``clustering.priority``).
    """

    number: int
    regions: tuple[str, ...]
    copies: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    priority: float = 0.0

    def __len__(self) -> int:
        return len(self.regions)


def image_id_of(name: str) -> str:
    """Return the id of the image ``name``: the first 16 hexadecimal digits of the SHA-256 of the name."""
    # A hash, as a name may be long and hold a "/", and must not choose where files are written. A name that is no UTF-8
    # has surrogates.
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]


def is_image_id(value: Any) -> bool:
    """Return whether ``value`` has the form of an image's id."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{16}", value) is not None


def is_region_id(value: Any) -> bool:
    """Return whether ``value`` has the form of a region's id."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{16}-[1-9][0-9]{0,5}", value) is not None


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def damaged(path: Path) -> OwsegError:
    """Return the error for a file whose contents are not what a queue writes."""
    return OwsegError(f"{path} is damaged; restore it, or delete it and run `owseg discover` again.")


def is_queue(folder: Path) -> bool:
    """Return whether ``folder`` holds a queue."""
    return (folder / QUEUE).is_file()


def write_info(folder: Path, info: QueueInfo) -> None:
    """Store how the queue was made."""
    _write_json(folder / QUEUE, vars(info))


def read_info(folder: Path) -> QueueInfo:
    """Return how the queue was made; raise ``OwsegError`` if the file is damaged or of another format."""
    with _reading(folder / QUEUE) as value:
        info = QueueInfo(**{**value, "classes": tuple(map(str, value["classes"]))})
        texts, numbers = (info.kb, info.fingerprint, info.root), (info.min_area, info.split_at)
        if not all(isinstance(v, str) for v in texts) or not all(isinstance(v, int | float) for v in numbers):
            raise ValueError
        if not Path(info.root).is_absolute():
            raise ValueError
        return info


def has_image(folder: Path, image_id: str) -> bool:
    """Return whether the queue holds the image ``image_id``."""
    return (folder / IMAGES / f"{image_id}.json").exists()


def image_ids(folder: Path) -> list[str]:
    """Return the ids of all images, sorted."""
    return sorted(path.stem for path in (folder / IMAGES).glob("*.json") if is_image_id(path.stem))


def write_image_entry(
    folder: Path, name: str, digest: str, proposals: RegionProposals, thumbnails: Sequence[bytes]
) -> str:
    """Store the unknown regions of the image ``name``, whose file has the SHA-256 ``digest``; return the image's id."""
    image_id, regions = image_id_of(name), proposals.regions
    for k, jpeg in enumerate(thumbnails, 1):
        write_whole(folder / THUMBNAILS / f"{image_id}-{k}.jpg", jpeg)
    embeddings = np.stack([r.embedding for r in regions]) if regions else np.zeros((0, 0), np.float32)
    buffer = io.BytesIO()
    np.save(buffer, embeddings.astype(np.float32), allow_pickle=False)
    write_whole(folder / IMAGES / f"{image_id}.npy", buffer.getvalue())
    unknown = Rle.of(proposals.unknown)
    value = {"name": name, "sha256": digest, "size": list(unknown.size), "unknown": unknown.to_json()}
    # Last: an image is in the queue once this file is there, and then all that belongs to it is, too.
    _write_json(folder / IMAGES / f"{image_id}.json", {**value, "regions": [_region_json(r) for r in regions]})
    return image_id


def read_image_entry(folder: Path, image_id: str) -> QueueImage:
    """Return the image ``image_id``; raise ``OwsegError`` if there is none or its file is damaged."""
    if not is_image_id(image_id) or not has_image(folder, image_id):
        raise OwsegError(f"{image_id!r} names no image of {folder}.")
    embeddings = read_embeddings(folder, image_id)
    with _reading(folder / IMAGES / f"{image_id}.json") as value:
        size, name = (int(value["size"][0]), int(value["size"][1])), _relative(value["name"])
        if image_id_of(name) != image_id or min(size) < 1:
            raise ValueError
        regions = [_read_region(name, v, size, e) for v, e in zip(value["regions"], embeddings, strict=True)]
        unknown = Rle.from_json(value["unknown"], size)
        return QueueImage(image_id, name, str(value["sha256"]), size, unknown, tuple(regions))


def read_embeddings(folder: Path, image_id: str) -> np.ndarray:
    """Return the embeddings (n, C) float32 of an image's regions; raise ``OwsegError`` if the file is damaged."""
    path = folder / IMAGES / f"{image_id}.npy"
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray) and found.ndim == 2 and found.dtype == np.float32 and np.isfinite(found).all():
            return found
    # A header may be no Python, and may ask for any amount of memory.
    except (OSError, ValueError, EOFError, BadZipFile, SyntaxError, TokenError, MemoryError):
        pass
    raise damaged(path)


def write_groups(folder: Path, groups: Sequence[Group]) -> None:
    """Store the groups, in the order of review."""
    listed = [{"regions": g.regions, "copies": dict(g.copies), "priority": g.priority} for g in groups]
    _write_json(folder / GROUPS, {"groups": listed})


def read_groups(folder: Path) -> list[Group]:
    """Return the groups in the order of review; raise ``OwsegError`` if the file is damaged."""
    with _reading(folder / GROUPS, MAX_ANNOTATIONS) as value:  # of the regions of all images
        groups = []
        for number, g in enumerate(value["groups"], 1):
            copies = {r: tuple(c) for r, c in g["copies"].items()}
            priority = g["priority"] if "priority" in g else g["worth"]  # the name that owseg 0.1 wrote
            group = Group(number, tuple(g["regions"]), copies, float(priority))
            named = (*group.regions, *copies, *(c for several in copies.values() for c in several))
            if not group.regions or not all(map(is_region_id, named)):
                raise ValueError
            groups.append(group)
        return groups


def _region_json(region: Region) -> dict[str, Any]:
    names = ("area", "mean", "peak", "nearest", "distance")
    masks = {"mask": region.mask.to_json(), "core": region.core.to_json()}
    return {**masks, "box": list(region.box), **{name: getattr(region, name) for name in names}}


def _read_region(name: str, value: Mapping[str, Any], size: tuple[int, int], embedding: np.ndarray) -> Region:
    x, y, width, height = (int(v) for v in value["box"])
    distance = None if value["distance"] is None else float(value["distance"])
    mask, core = Rle.from_json(value["mask"], size), Rle.from_json(value["core"], size)
    # What of the file can be checked against itself is: later code relies on a core within the mask.
    if mask.area != value["area"] or core.area < 1 or not core.within(mask):
        raise ValueError
    scores = float(value["mean"]), float(value["peak"])
    return Region(
        name, mask, core, (x, y, width, height), mask.area, *scores, embedding, str(value["nearest"]), distance
    )


def _relative(name: Any) -> str:
    """Return ``name`` if it stays below the folder that it is relative to."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise ValueError
    return str(name)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_whole(path, json.dumps({"format": FORMAT, **value}, allow_nan=False).encode())


@contextmanager
def _reading(path: Path, most: int = MAX_TEXT) -> Iterator[dict[str, Any]]:
    """Yield the contents of a JSON file of this format; whatever is wrong with it becomes an ``OwsegError``.

    So does a file of more than ``most`` bytes.
    """
    try:
        # The number first, so that another format is not reported as damage.
        value = read_json(path, most=most)
        number = value.pop("format")
    except FileNotFoundError:
        raise OwsegError(f"{path} is missing; run `owseg discover` again, and it goes on where it stopped.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise damaged(path) from None
    if number != FORMAT:
        raise OwsegError(f"{path} is of format {number!r}; this owseg reads format {FORMAT}.")
    try:
        yield value
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError):
        raise damaged(path) from None
