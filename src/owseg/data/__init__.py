"""Data sets by a short name, ``kind:DIR``: one layout a file, and ``KINDS`` says which is which."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from owseg.data.bdd100k import bdd100k
from owseg.data.camvid import camvid
from owseg.data.camvid32 import camvid32
from owseg.data.cityscapes import cityscapes
from owseg.data.fishyscapes import fishyscapes
from owseg.data.folder import folder
from owseg.data.idd import idd
from owseg.data.layout import NoSuchSplit
from owseg.data.lostandfound import lostandfound
from owseg.data.roadanomaly import roadanomaly
from owseg.data.smiyc import smiyc
from owseg.data.source import DataSet, Source, spread_over
from owseg.data.streethazards import streethazards
from owseg.errors import OwsegError
from owseg.labels import IGNORE, UNKNOWN, LabelSpace

__all__ = ["KINDS", "DataSet", "NoSuchSplit", "Source", "open_dataset", "open_source", "spread_over"]

KINDS: dict[str, Callable[[Path, str], Source]] = {
    "folder": folder,
    "camvid": camvid,
    "camvid32": camvid32,
    "cityscapes": cityscapes,
    "bdd100k": bdd100k,
    "idd": idd,
    "streethazards": streethazards,
    "lostandfound": lostandfound,
    "roadanomaly": roadanomaly,
    "fishyscapes-lostfound": partial(fishyscapes, kind="lostfound"),
    "fishyscapes-static": partial(fishyscapes, kind="static"),
    "roadanomaly21": partial(smiyc, kind="roadanomaly21"),
    "roadobstacle21": partial(smiyc, kind="roadobstacle21"),
}
"""What opens ``kind:DIR``: a function of the folder and the split. ``owseg.catalogue`` describes them."""


def open_source(spec: str, split: str) -> Source:
    """Open a split of a data set named as ``kind:DIR``, or ``synthetic``.

    Raises ``OwsegError`` for an unknown kind or a bad place, and ``NoSuchSplit``, which is one, for a missing split.
    """
    kind, _, place = spec.partition(":")
    if kind == "synthetic":
        if place:
            raise OwsegError("the synthetic streets lie nowhere; name them as synthetic.")
        return _synthetic(split)
    if kind not in KINDS:
        raise OwsegError(f"{spec!r} names no data set; it is synthetic or KIND:DIR, where KIND is {', '.join(KINDS)}.")
    root = Path(place).expanduser()
    if not place or not root.is_dir():
        raise OwsegError(f"{place or 'nothing'} is not a folder; name the data set as {kind}:DIR.")
    return KINDS[kind](root, split)


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
        raise NoSuchSplit(f"{split!r} is no split of the synthetic streets; it is one of {', '.join(SPLITS)}.")

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        image, labels = scene(split, i)
        return np.ascontiguousarray(image.transpose(2, 0, 1)), labels

    return Source(f"synthetic:{split}", CLASSES, tuple(f"{split}-{i:03d}" for i in range(SPLITS[split][1])), read)
