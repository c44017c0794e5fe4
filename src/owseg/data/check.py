"""Reading every image and mask of a data set: what it holds, and which files are faulty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from owseg._progress import track
from owseg.data.dataset import DataSet, Source, fingerprint_of
from owseg.data.datasets import DATASETS, open_source
from owseg.errors import NoSuchSplit, OwsegError
from owseg.labels import IGNORE, KNOWN
from owseg.types import Sample

NAMED = 5
"""Of the images without a mask so many are named."""


@dataclass(frozen=True)
class SplitReport:
    """What was found in one split of a data set.

    ``frames`` is the number of images, ``sizes`` how many there are of each size, ``without_ground_truth`` how many
    have no mask, and ``unlabeled`` the names of the first ``NAMED`` of these; ``pixels`` counts by class, with
    "(known)" and "(void)" besides; ``errors`` has a sentence for each image or mask that could not be used.
    ``fingerprint`` is that of the split opened against its own classes (``DataSet.fingerprint``), or None where there
    are errors.
    """

    name: str
    split: str
    frames: int
    sizes: dict[str, int] = field(hash=False)
    without_ground_truth: int
    unlabeled: tuple[str, ...]
    pixels: dict[str, int] = field(hash=False)
    errors: tuple[str, ...]
    fingerprint: str | None

    def to_json(self) -> dict[str, Any]:
        """Return every field by name, and as ``share`` the shares of pixels by class."""
        lists = {"unlabeled": list(self.unlabeled), "errors": list(self.errors)}
        return {**vars(self), **lists, "share": self.shares()}

    def shares(self) -> dict[str, float]:
        """Return the share of all labelled pixels, void ones included, by class."""
        total = max(1, sum(self.pixels.values()))
        return {name: count / total for name, count in self.pixels.items()}


def check(spec: str, split: str | None = None) -> list[SplitReport]:
    """Read every image and mask of ``split``, by default of every split there is, and report on each split.

    Raises ``OwsegError`` where no split can be opened: another layout, an image without its mask, no such split.
    """
    kind = spec.partition(":")[0]
    named = DATASETS[kind].facts["splits"] if split is None and kind in DATASETS else (split or "train",)
    sources: dict[str, tuple[str, Source]] = {}
    absent: OwsegError | None = None
    for name in named:
        try:
            source = open_source(spec, name)
        except NoSuchSplit as error:
            absent = absent or error
            continue
        sources.setdefault(source.name, (name, source))  # a folder without splits is the same under each name
    if not sources:
        raise absent or OwsegError(f"{spec} has no split.")
    return [_check_split(source, name) for name, source in sources.values()]


def absent_classes(found: Sequence[SplitReport]) -> list[str]:
    """Say which classes have no pixel in the split train, and which of those that it has are absent in another split.

    Splits without ground truth, or with errors, are left out; without a split train nothing is said.
    """
    train = next((report for report in found if report.split == "train"), None)
    if train is None:
        return []
    none = [name for name, count in train.pixels.items() if not count]
    lines = [f"{train.name} has no pixel of {', '.join(none)}: what it does not show is not learned."] if none else []
    for report in found:
        none = [name for name, count in report.pixels.items() if not count and train.pixels.get(name)]
        if none and report.without_ground_truth < report.frames and not report.errors:
            lines.append(f"{report.name} has no pixel of {', '.join(none)}: what is learned of it is not measured.")
    return lines


def _check_split(source: Source, split: str) -> SplitReport:
    data, errors = DataSet(source, source.classes), []
    sizes: Counter[str] = Counter()
    pixels, unlabeled = np.zeros(256, np.int64), list[str]()

    def readable() -> Iterator[Sample]:
        nonlocal pixels
        for i in track(range(len(data)), f"checking {source.name}", len(data)):
            try:
                sample = data[i]
            except OwsegError as error:
                errors.append(str(error))
                continue
            size, target = _size(sample.image[0]), sample.target
            if target is None:
                unlabeled.append(sample.id)
            else:
                pixels += np.bincount(target.ravel(), minlength=256)
                size += "" if target.shape == sample.image.shape[1:] else f", mask {_size(target)}"
            sizes[size] += 1
            yield sample

    digest = fingerprint_of(readable(), data.labels)  # pulls every sample through ``readable``, which counts
    names = {**dict(enumerate(source.classes.names)), KNOWN: "(known)", IGNORE: "(void)"}
    # A class without a pixel is listed, too: it may be why a fit or a metric is undefined.
    counts = {name: int(pixels[i]) for i, name in names.items() if pixels[i] or i < len(source.classes)}
    fingerprint = None if errors else digest
    by_size = dict(sizes.most_common())
    first = tuple(unlabeled[:NAMED])
    return SplitReport(
        source.name, split, len(data), by_size, len(unlabeled), first, counts, tuple(errors), fingerprint
    )


def _size(plane: np.ndarray) -> str:
    return f"{plane.shape[1]}x{plane.shape[0]}"
