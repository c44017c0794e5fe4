"""What a knowledge base says of a data set, kept on disk: scores, closed labels and the truth of every image.

    maps/maps.json                     whose maps of what they are (``Manifest``)
    maps/<image>.safetensors.zst     labels, target (H, W) uint8 and one "score/NAME" (H, W) float32 for each score

A file is a safetensors in a zstd frame with a checksum: nothing is lost, nothing is unpickled, a file that was cut or
altered is noticed, and ``zstd -d`` leaves what every safetensors reader reads. At level 1 that is written about ten
times as fast as by ``numpy.savez_compressed`` and is as small. All scores of an image are in one file, as one forward
pass gives them all: an image is there whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import zstandard
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from owseg import __version__
from owseg._files import write_whole
from owseg.errors import OwsegError

FORMAT = 2


MANIFEST = "maps.json"


SCORE = "score/"


@dataclass(frozen=True)
class Manifest:
    """Whose maps of what a folder holds, so that those of anything else are refused.

    ``knowledge`` and ``data`` are fingerprints, of all that decides labels and scores and of images and truth;
    ``name`` is the data set's; ``classes`` the known ones in the order of their ids; ``scores`` and ``images`` are
    names. ``settings`` is what else was chosen, such as ``multi_scale``; ``version`` is the owseg that makes them, as
    scores change with its code.
    """

    knowledge: str
    data: str
    name: str
    classes: tuple[str, ...]
    scores: tuple[str, ...]
    images: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    version: str = __version__

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, value: Any) -> Manifest:
        """Read what ``to_json`` wrote; raise ``OwsegError`` for anything else."""
        try:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
            if fields.pop("format") == FORMAT:
                return cls(**fields)
        except (AttributeError, KeyError, TypeError):
            pass
        raise OwsegError("it does not say of what it holds maps, or another version of owseg wrote it.")


@dataclass(frozen=True)
class Maps:
    """The maps of one image: ``labels`` and ``target`` (H, W) uint8, ``scores`` (H, W) float32 by name."""

    labels: np.ndarray
    target: np.ndarray
    scores: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Folder:
    """A folder of maps: read and write images by name. Nothing is held in memory."""

    path: Path
    manifest: Manifest

    @classmethod
    def begin(cls, path: str | Path, manifest: Manifest) -> Folder:
        """Make the folder, or go on with the one that is there.

        Raises ``OwsegError`` if that holds maps of anything else, and where two images share a name.
        """
        path, images = Path(path), manifest.images
        if len(set(images)) < len(images):
            twice = next(p for p in images if images.count(p) > 1)
            raise OwsegError(f"{manifest.name} has two images {twice!r}, whose maps would be one file; rename one.")
        if (path / MANIFEST).exists():
            there = cls.open(path)
            there.require(manifest)
            return there
        if path.is_dir() and any(path.iterdir()):
            raise OwsegError(f"{path} holds other files and no {MANIFEST}; name an empty or a new folder for the maps.")
        write_whole(path / MANIFEST, (json.dumps(manifest.to_json(), indent=1) + "\n").encode())
        return cls(path, manifest)

    @classmethod
    def open(cls, path: str | Path) -> Folder:
        """Open a folder of maps; raise ``OwsegError`` if it is none."""
        path = Path(path)
        try:
            return cls(path, Manifest.from_json(json.loads((path / MANIFEST).read_bytes())))
        except OSError:
            raise OwsegError(f"{path} is no folder of maps: it has no {MANIFEST}.") from None
        except (ValueError, OwsegError):
            raise OwsegError(
                f"{path / MANIFEST} is damaged or of another version of owseg; remove {path} and compute the maps anew."
            ) from None

    def require(self, manifest: Manifest) -> None:
        """Raise ``OwsegError`` unless the folder holds the maps that ``manifest`` speaks of."""
        words = {
            "data": "another data set, or one that has changed",
            "images": "other images",
            "classes": "other classes",
            "knowledge": "another knowledge base",
            "scores": "other scores",
            "settings": "other settings",
            "version": "another version of owseg",
        }
        mine, yours = (json.loads(json.dumps(m.to_json())) for m in (self.manifest, manifest))  # as they are kept
        for name, what in words.items():
            if mine[name] != yours[name]:
                told = f" ({mine[name]}, not {yours[name]})" if name not in ("images", "classes") else ""
                raise OwsegError(f"{self.path} holds maps of {what}{told}; remove it, or name another folder.")

    def file(self, image: str) -> Path:
        """Return where the maps of ``image`` are, or will be."""
        return self.path / f"{quote(image, safe=' ')}.safetensors.zst"

    def write(self, image: str, maps: Maps) -> Path:
        """Write one image's maps, whole or not at all, and return the file.

        Raises ``OwsegError`` for an image or scores that the manifest does not name, maps of several sizes, or a disk
        that is full.
        """
        if image not in self.manifest.images or set(maps.scores) != set(self.manifest.scores):
            raise OwsegError(f"{image} or its scores {', '.join(maps.scores)} are not what {self.path} is for.")
        tensors = {"labels": maps.labels.astype(np.uint8), "target": maps.target.astype(np.uint8)}
        tensors |= {SCORE + name: score.astype(np.float32) for name, score in maps.scores.items()}
        if len({tensor.shape for tensor in tensors.values()}) > 1:
            raise OwsegError(f"the maps of {image} are not of one size.")
        whole = safetensors.save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
        return write_whole(self.file(image), zstandard.ZstdCompressor(level=1, write_checksum=True).compress(whole))

    def read(self, image: str) -> Maps:
        """Read one image's maps; raise ``OwsegError`` for a file that is missing, cut or altered."""
        path = self.file(image)
        try:
            tensors = safetensors.load(zstandard.ZstdDecompressor().decompress(path.read_bytes()))
            maps = Maps(
                tensors["labels"], tensors["target"], {name: tensors[SCORE + name] for name in self.manifest.scores}
            )
        except OSError:
            raise OwsegError(f"{path} is missing or cannot be read; compute the maps again, which adds it.") from None
        except (zstandard.ZstdError, SafetensorError, MemoryError, KeyError):
            raise OwsegError(f"{path} is damaged; compute the maps again, which replaces it.") from None
        return maps

    def missing(self) -> Iterator[str]:
        """Yield the images whose maps are not there or not intact, reading every file."""
        for image in self.manifest.images:
            try:
                self.read(image)
            except OwsegError:
                yield image
