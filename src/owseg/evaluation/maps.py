"""A folder of score maps: the scores, the closed map and the ground truth of every image of a data set, on disk.

    maps/maps.json                   which knowledge base and data set the maps are of (``Manifest``)
    maps/<image>.safetensors.zst     labels, target (H, W) uint8 and one "score/NAME" (H, W) float32 for each score

Each file is a safetensors in a zstd frame with a checksum: it is lossless, nothing is unpickled, a truncated or altered
file is detected, and ``zstd -d`` leaves what every safetensors reader reads. Level 1 writes about ten times as fast as
``numpy.savez_compressed`` and compresses as well. All scores of an image come from one forward pass and are in one
file, so an image is complete or absent.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import zstandard

from owseg import __version__
from owseg._files import MAX_ANNOTATIONS, begin_or_resume, read_json, write_whole
from owseg.errors import OwsegError
from owseg.evaluation.encoded import SUFFIX, Damaged, decode, encode

FORMAT = 2
MANIFEST = "maps.json"
SCORE = "score/"

IMAGES_KEY = "pictures"
"""The name that format 2 has for ``Manifest.images``."""

DIFFERS = {
    "data": "of another data set, or one that has changed",
    IMAGES_KEY: "of other images",
    "classes": "of other classes",
    "knowledge": "of another knowledge base",
    "scores": "of other scores",
    "settings": "made with other settings",
    "version": "of another version of owseg",
}
"""What another value of each entry of a manifest means; its ``name`` may differ."""


@dataclass(frozen=True)
class Manifest:
    """What a folder holds maps of, so that maps of anything else are refused.

    ``knowledge`` and ``data`` are fingerprints: of all that decides labels and scores, and of images and ground truth.
    ``name`` is that of the data set, ``classes`` the known ones in the order of their ids, ``scores`` and ``images``
    are names. ``settings`` is what else was chosen, such as ``multi_scale``. ``version`` is the owseg that made the
    maps, as the code of a scorer may change between versions.
    """

    knowledge: str
    data: str
    name: str
    classes: tuple[str, ...]
    scores: tuple[str, ...]
    images: tuple[str, ...] = field(repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    version: str = __version__

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON."""
        return {"format": FORMAT, **{IMAGES_KEY if name == "images" else name: v for name, v in vars(self).items()}}

    @classmethod
    def from_json(cls, value: Any) -> Manifest:
        """Read what ``to_json`` wrote; raise ``OwsegError`` for anything else."""
        try:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
            if fields.pop("format") == FORMAT:
                found = cls(**{"images" if name == IMAGES_KEY else name: v for name, v in fields.items()})
                texts = (found.knowledge, found.data, found.name, found.version)
                lists = (found.classes, found.scores, found.images)
                are_lists = all(isinstance(one, tuple) and all(isinstance(p, str) for p in one) for one in lists)
                if are_lists and isinstance(found.settings, dict) and all(isinstance(text, str) for text in texts):
                    return found
        except (AttributeError, KeyError, TypeError):
            pass
        raise OwsegError(f"it is not the manifest of a folder of maps, or not of format {FORMAT}.")


@dataclass(frozen=True, eq=False)
class Maps:
    """The maps of one image: ``labels`` and ``target`` (H, W) uint8, ``scores`` (H, W) float32 by name."""

    labels: np.ndarray
    target: np.ndarray
    scores: Mapping[str, np.ndarray]

    def __repr__(self) -> str:
        height, width = self.labels.shape
        return f"Maps({width}x{height}: {', '.join(self.scores)})"


@dataclass(frozen=True)
class MapFolder:
    """A folder of maps, from which images are read and to which they are written by name; none is held in memory."""

    path: Path
    manifest: Manifest

    @classmethod
    def begin(cls, path: str | Path, manifest: Manifest) -> MapFolder:
        """Make the folder, or open the one that is there to go on with it.

        Raises ``OwsegError`` if that holds maps of anything else, and where two images have the same name.
        """
        path, images = Path(path), manifest.images
        if len(set(images)) < len(images):  # the second would silently replace the first
            twice = next(name for name, count in Counter(images).items() if count > 1)
            raise OwsegError(f"{manifest.name} has two images {twice!r}, whose maps would be one file; rename one.")
        begin_or_resume(
            path, MANIFEST, manifest.to_json(), lambda: cls.open(path).manifest.to_json(), DIFFERS, "maps"
        )  # fmt: skip
        return cls(path, manifest)

    @classmethod
    def open(cls, path: str | Path) -> MapFolder:
        """Open a folder of maps; raise ``OwsegError`` for any other folder, and for a damaged manifest."""
        path = Path(path)
        try:
            return cls(path, Manifest.from_json(read_json(path / MANIFEST, most=MAX_ANNOTATIONS)))
        except OSError:
            raise OwsegError(f"{path} is not a folder of maps: it has no {MANIFEST}.") from None
        except OwsegError:
            raise OwsegError(
                f"{path / MANIFEST} is damaged or of another version of owseg; remove {path} and compute them again."
            ) from None

    def only(self, images: Sequence[str]) -> MapFolder:
        """Return the folder with these of its images alone."""
        return replace(self, manifest=replace(self.manifest, images=tuple(images)))

    @cached_property
    def _images(self) -> frozenset[str]:
        return frozenset(self.manifest.images)

    def file(self, image: str) -> Path:
        """Return where the maps of ``image`` are, or will be."""
        return self.path / _file_name(image)

    def write(self, image: str, maps: Maps) -> Path:
        """Write one image's maps, whole or not at all, and return the file.

        Raises ``OwsegError`` for an image or scores that the manifest does not name, maps of several sizes, or a disk
        that is full.
        """
        if image not in self._images or set(maps.scores) != set(self.manifest.scores):
            raise OwsegError(f"{image} or its scores {', '.join(maps.scores)} are not in the manifest of {self.path}.")
        tensors = {"labels": maps.labels.astype(np.uint8), "target": maps.target.astype(np.uint8)}
        tensors |= {SCORE + name: score.astype(np.float32) for name, score in maps.scores.items()}
        if len({tensor.shape for tensor in tensors.values()}) > 1:
            raise OwsegError(f"the maps of {image} are not of one size.")
        return write_whole(self.file(image), encode(tensors))

    def read(self, image: str) -> Maps:
        """Read one image's maps; raise ``OwsegError`` for a file that is missing, truncated or altered."""
        path = self.file(image)
        try:
            tensors = decode(path.read_bytes())
            maps = Maps(
                tensors["labels"], tensors["target"], {name: tensors[SCORE + name] for name in self.manifest.scores}
            )
        except OSError:
            raise OwsegError(f"{path} is missing or cannot be read; compute the maps again, which adds it.") from None
        except (Damaged, KeyError):
            raise OwsegError(f"{path} is damaged; remove it and compute the maps again, which replaces it.") from None
        return maps

    def missing(self) -> Iterator[str]:
        """Yield the images whose maps are absent or truncated, from the sizes of the files: none is decompressed.

        A file whose bytes were altered in place is left to ``read``, which verifies the checksum.
        """
        # One listing of the folder: to ask for each of a million files that are not there takes ten times as long.
        there = {file.name for file in os.scandir(self.path)} if self.path.exists() else set()
        names = ((image, _file_name(image)) for image in self.manifest.images)
        return (image for image, name in names if name not in there or not _is_whole_frame(self.path / name))


def _file_name(image: str) -> str:
    # Quoted, as an image may be named after its path: "town/b 1" is one file, not a folder.
    return f"{quote(image, safe=' ', errors='surrogatepass')}{SUFFIX}"


def _is_whole_frame(path: Path) -> bool:
    """Return whether a file is one zstd frame of the length that its blocks add up to (RFC 8878, section 3.1.1)."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(18)  # no header is longer
            # A crash of the machine can leave a file that is renamed but short, or zero where it was not yet written.
            checksum = 4 * zstandard.get_frame_parameters(head).has_checksum
            end, last = zstandard.frame_header_size(head), False
            while not last and end < size:
                file.seek(end)
                block = int.from_bytes(file.read(3), "little")
                last, kind, length = bool(block & 1), block >> 1 & 3, block >> 3
                end += 3 + (1 if kind == 1 else length)  # kind 1 is one byte, repeated
            return last and end + checksum == size
    except (OSError, zstandard.ZstdError):
        return False
