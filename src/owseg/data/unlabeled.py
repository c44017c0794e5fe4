"""Images without labels: a plain folder as a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from owseg.data.dataset import DataSet, Source
from owseg.data.datasets import open_dataset
from owseg.data.images import by_stem, read_image
from owseg.errors import OwsegError
from owseg.labels import LabelSpace


def streets(spec: str, split: str, labels: LabelSpace) -> DataSet:
    """Open a folder of images, which have no truth, or a labelled data set (``camvid:DIR``) against ``labels``."""
    if Path(spec).expanduser().is_dir():
        return DataSet(plain(Path(spec).expanduser(), labels), labels)
    if ":" not in spec and spec != "synthetic":
        raise OwsegError(f"{spec} is no folder of images, nor a data set such as camvid:DIR.")
    return open_dataset(spec, split, labels)


def plain(folder: Path, labels: LabelSpace) -> Source:
    """Return the images directly in ``folder`` as a source without truth; its classes are those of ``labels``."""
    paths = by_stem(folder)
    names = tuple(paths)

    def read(i: int) -> tuple[np.ndarray, None]:
        return read_image(paths[names[i]]), None

    return Source(folder.name, labels, names, read)


def divided(data: DataSet, every: int = 8) -> tuple[DataSet, DataSet]:
    """Return ``data`` without every eighth frame, and those; raise ``OwsegError`` for fewer than ``every``."""
    if len(data) < every:
        raise OwsegError(f"{data.source.name} has {len(data)} images; {every} are needed to set one aside.")
    held = range(every - 1, len(data), every)
    return data.pick([i for i in range(len(data)) if i not in held]), data.pick(held)
