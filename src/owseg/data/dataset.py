"""From files to samples: a source keeps its own ids, a data set speaks the label space it was opened against."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from owseg.errors import OwsegError
from owseg.labels import IGNORE, KNOWN, UNKNOWN, LabelSpace
from owseg.types import Sample


@dataclass(frozen=True)
class Source:
    """Frames as a layout on disk has them.

    ``classes`` are the source's own, ``ids`` name the frames, ``read(i)`` gives image (3, H, W) uint8 and target
    (H, W) uint8 in the source's ids (KNOWN for some known class, IGNORE for void), or None without truth.
    ``finer`` if masks may have more pixels than their images, of which some benchmarks keep reduced copies: the
    network sees the image as it is, and what it says is brought to the mask. Only to evaluate; never to train.
    """

    name: str
    classes: LabelSpace
    ids: tuple[str, ...]
    read: Callable[[int], tuple[np.ndarray, np.ndarray | None]]
    finer: bool = False


@dataclass(frozen=True)
class DataSet:
    """A source seen through a label space: ids are matched by class name, here and nowhere else.

    Classes of the source that ``labels`` does not have become ``unknown_as``: UNKNOWN to evaluate, IGNORE to train.
    KNOWN stays to evaluate, and is IGNORE to train.
    """

    source: Source
    labels: LabelSpace
    unknown_as: int = UNKNOWN

    def __len__(self) -> int:
        return len(self.source.ids)

    def __getitem__(self, i: int) -> Sample:
        if not 0 <= i < len(self):
            raise IndexError(i)
        image, raw = self.source.read(i)
        name = self.source.ids[i]
        if raw is None:
            return Sample(image, None, name)
        if raw.shape != image.shape[1:] and not (self.source.finer and _enlarged(image, raw)):
            raise OwsegError(f"{_sizes(name, image, raw)}; they must be of one size.")
        if raw.shape != image.shape[1:] and self.unknown_as == IGNORE:
            raise OwsegError(f"{_sizes(name, image, raw)}: that is good to evaluate with, not to train on.")
        present = np.bincount(raw.ravel(), minlength=256)
        strange = [int(v) for v in np.nonzero(present[:IGNORE])[0] if v >= len(self.source.classes) and v != KNOWN]
        if strange:
            raise OwsegError(
                f"the mask of {name} holds the ids {strange}, but the classes are 0..{len(self.source.classes) - 1} "
                f"and {IGNORE} is void."
            )
        table = self.labels.lookup(self.source.classes, self.unknown_as)
        if self.unknown_as == IGNORE:
            table[KNOWN] = IGNORE
        return Sample(image, table[raw], name)

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def pick(self, numbers: Sequence[int], name: str | None = None) -> DataSet:
        """Return the frames ``numbers``, in that order, under another ``name``."""
        source, numbers = self.source, list(numbers)
        ids = tuple(source.ids[i] for i in numbers)
        few = replace(source, name=name or source.name, ids=ids, read=lambda i: source.read(numbers[i]))
        return replace(self, source=few)

    def unknown_classes(self) -> tuple[str, ...]:
        """Return the names of the source's classes that the label space does not have."""
        return tuple(n for n in self.source.classes.names if n not in self.labels)

    def fingerprint(self) -> str:
        """Return a short SHA-256 over the frames' names, pixels and targets: the same digits, the same data."""
        return fingerprint_of(self, self.labels, self.unknown_as)


def fingerprint_of(samples: Iterable[Sample], labels: LabelSpace, unknown_as: int = UNKNOWN) -> str:
    """Return ``DataSet.fingerprint`` of ``samples`` that a data set opened against ``labels`` gave."""
    digest = hashlib.sha256(repr((labels.names, unknown_as)).encode())
    for sample in samples:
        digest.update(sample.id.encode())
        digest.update(np.ascontiguousarray(sample.image).data)
        if sample.target is not None:
            digest.update(np.ascontiguousarray(sample.target).data)
    return digest.hexdigest()[:16]


def spread_over(data: DataSet, most: int) -> DataSet:
    """Return at most ``most`` frames of ``data``, evenly spread."""
    if len(data) <= most:
        return data
    picked = [round(i) for i in np.linspace(0, len(data) - 1, most)]
    return data.pick(picked, f"{data.source.name}, {most} of {len(data)}")


def _enlarged(image: np.ndarray, mask: np.ndarray) -> bool:
    """Return whether ``mask`` is of the shape of ``image``, and larger."""
    (height, width), (tall, wide) = image.shape[1:], mask.shape
    return tall > height and tall * width == wide * height


def _sizes(name: str, image: np.ndarray, mask: np.ndarray) -> str:
    return f"the mask of {name} is {mask.shape[1]}x{mask.shape[0]} and its image {image.shape[2]}x{image.shape[1]}"
