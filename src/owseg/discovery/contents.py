"""What a queue holds: values, and the names of images and regions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from owseg._files import file_sha256
from owseg.data.images import read_image
from owseg.data.masks import Rle
from owseg.errors import OwsegError
from owseg.knowledge.regions import Region

REGION_ID = re.compile("[0-9a-f]{16}-[1-9][0-9]{0,5}")
"""The form of a region's id: that of its image, and its number in it, from 1."""


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

    def __repr__(self) -> str:
        return f"QueueImage({self.id}, {self.name}, {self.size[1]}x{self.size[0]}, {len(self.regions)} regions)"


@dataclass(frozen=True)
class Group:
    """Similar regions, the most typical first.

    ``number`` counts from 1 in the order of review; groups that a reviewer split off have the numbers after those, and
    one that was merged leaves a gap. ``copies`` has, by region, the ids of its near-duplicates in
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
    # A hash, as a name may be long and hold a "/", and must not choose where files are written.
    return hashlib.sha256(to_bytes(name)).hexdigest()[:16]


def is_image_id(value: Any) -> bool:
    """Return whether ``value`` has the form of an image's id."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{16}", value) is not None


def is_region_id(value: Any) -> bool:
    """Return whether ``value`` has the form of a region's id."""
    return isinstance(value, str) and REGION_ID.fullmatch(value) is not None


def image_of(region: str) -> str:
    """Return the id of the image that the region of this id is in."""
    return region.partition("-")[0]


def relative(name: str) -> str:
    """Return ``name`` if it stays below the folder that it is relative to; raise ``ValueError`` if it does not."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise ValueError
    return name


def read_pixels(root: str, image: QueueImage) -> np.ndarray:
    """Return the pixels of an image below ``root``, (3, H, W) uint8; raise ``OwsegError`` if it is gone or changed."""
    path = Path(root, image.name)
    if not path.is_file():
        raise OwsegError(f"{path} is gone; put it back, or run `owseg discover` with another --out.")
    pixels = read_image(path)
    if file_sha256(path) != image.sha256 or pixels.shape[1:] != image.size:
        raise OwsegError(f"{path} has changed since the queue was made; run `owseg discover` with another --out.")
    return pixels


def to_bytes(text: str) -> bytes:
    """Return free text as the database has it."""
    return text.encode(errors="surrogatepass")  # a name that is no UTF-8 has surrogates


def to_text(data: bytes) -> str:
    """Return the text that ``to_bytes`` made ``data`` of; raise ``ValueError`` or ``AttributeError`` for others."""
    return data.decode(errors="surrogatepass")
