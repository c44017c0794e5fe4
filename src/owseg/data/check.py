"""Reading every frame of a data set, and saying what is in it and what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from owseg._progress import track
from owseg.data.dataset import DataSet, Source, fingerprint_of
from owseg.data.datasets import DATASETS, open_source
from owseg.errors import NoSuchSplit, OwsegError
from owseg.labels import IGNORE, KNOWN
from owseg.types import Sample


@dataclass(frozen=True)
class Checked:
    """What a split holds: ``sizes`` of images, ``pixels`` by class (known and void ones too), what is ``wrong``.

    ``fingerprint`` is that of the split opened against its own classes; None where something is wrong.
    """

    name: str
    split: str
    frames: int
    sizes: dict[str, int]
    without_truth: int
    pixels: dict[str, int]
    wrong: tuple[str, ...]
    fingerprint: str | None

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON, with the share of pixels by class."""
        return {**vars(self), "wrong": list(self.wrong), "share": self.shares()}

    def shares(self) -> dict[str, float]:
        """Return the share of all labelled pixels, void ones included, by class."""
        total = max(1, sum(self.pixels.values()))
        return {name: count / total for name, count in self.pixels.items()}


def check(spec: str, split: str | None = None) -> list[Checked]:
    """Read every frame of ``split``, by default of every split there is, and return what was found.

    Raises ``OwsegError`` where nothing can be opened: another layout, an image without its labels, no such split.
    """
    kind = spec.partition(":")[0]
    named = DATASETS.entries[kind].facts["splits"] if split is None and kind in DATASETS else (split or "train",)
    found: dict[str, tuple[str, Source]] = {}
    absent: OwsegError | None = None
    for name in named:
        try:
            source = open_source(spec, name)
        except NoSuchSplit as error:
            absent = absent or error
            continue
        found.setdefault(source.name, (name, source))  # a folder without splits is the same under each name
    if not found:
        raise absent or OwsegError(f"{spec} has no split.")
    return [_checked(source, name) for name, source in found.values()]


def _checked(source: Source, split: str) -> Checked:
    data, wrong = DataSet(source, source.classes), []
    sizes: Counter[str] = Counter()
    pixels, bare = np.zeros(256, np.int64), 0

    def readable() -> Iterator[Sample]:
        nonlocal pixels, bare
        for i in track(range(len(data)), f"checking {source.name}", len(data)):
            try:
                sample = data[i]
            except OwsegError as error:
                wrong.append(str(error))
                continue
            size, target = _size(sample.image[0]), sample.target
            if target is None:
                bare += 1
            else:
                pixels += np.bincount(target.ravel(), minlength=256)
                size += "" if target.shape == sample.image.shape[1:] else f", mask {_size(target)}"
            sizes[size] += 1
            yield sample

    digest = fingerprint_of(readable(), data.labels)
    names = {**dict(enumerate(source.classes.names)), KNOWN: "(known)", IGNORE: "(void)"}
    shown = {name: int(pixels[i]) for i, name in names.items() if pixels[i] or i < len(source.classes)}
    fingerprint = None if wrong else digest
    return Checked(source.name, split, len(data), dict(sizes.most_common()), bare, shown, tuple(wrong), fingerprint)


def _size(plane: np.ndarray) -> str:
    return f"{plane.shape[1]}x{plane.shape[0]}"
