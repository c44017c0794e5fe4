"""Data sets by a short name: ``camvid:DIR``, ``folder:DIR``, ``synthetic``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from owseg.data.camvid import camvid
from owseg.data.folder import folder
from owseg.data.source import DataSet, Source, spread_over
from owseg.errors import OwsegError
from owseg.labels import IGNORE, UNKNOWN, LabelSpace

__all__ = ["DataSet", "Source", "open_dataset", "open_source", "spread_over"]


def open_source(spec: str, split: str) -> Source:
    """Open a split of a data set named as ``kind:place``; raise ``OwsegError`` for an unknown kind or a bad place."""
    kind, _, place = spec.partition(":")
    if kind == "synthetic":
        if place:
            raise OwsegError("the synthetic streets lie nowhere; name them as synthetic.")
        return _synthetic(split)
    if kind in ("camvid", "folder"):
        root = Path(place).expanduser()
        if not place or not root.is_dir():
            raise OwsegError(f"{place or 'nothing'} is not a folder; name the data set as {kind}:DIR.")
        return camvid(root, split) if kind == "camvid" else folder(root, split)
    raise OwsegError(f"{spec!r} names no data set; it is camvid:DIR, folder:DIR or synthetic.")


def open_dataset(spec: str, split: str, labels: LabelSpace | None = None, *, train: bool = False) -> DataSet:
    """Open a data set against ``labels`` (by default its own classes).

    Pixels of classes that ``labels`` does not have become UNKNOWN, or IGNORE with ``train=True``.
    """
    source = open_source(spec, split)
    return DataSet(source, labels or source.classes, IGNORE if train else UNKNOWN)


def _synthetic(split: str) -> Source:
    """Open a split of the synthetic streets: nothing is stored, each scene is drawn when it is read."""
    from owseg.data.synthetic import CLASSES, SPLITS, scene

    if split not in SPLITS:
        raise OwsegError(f"{split!r} is no split of the synthetic streets; it is one of {', '.join(SPLITS)}.")

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        image, labels = scene(split, i)
        return np.ascontiguousarray(image.transpose(2, 0, 1)), labels

    return Source(f"synthetic:{split}", CLASSES, tuple(f"{split}-{i:03d}" for i in range(SPLITS[split][1])), read)
