"""Data sets by a short name: ``camvid:DIR``, ``folder:DIR``, ``synthetic``."""

from __future__ import annotations

from pathlib import Path

from owseg.data.camvid import camvid
from owseg.data.folder import folder
from owseg.data.source import DataSet, Source
from owseg.errors import OwsegError
from owseg.labels import IGNORE, UNKNOWN, LabelSpace

__all__ = ["DataSet", "Source", "open_dataset", "open_source"]


def open_source(spec: str, split: str) -> Source:
    """Open a split of a data set named as ``kind:place``; raise ``OwsegError`` for an unknown kind or a bad place."""
    kind, _, place = spec.partition(":")
    if kind == "synthetic":
        from owseg.data.synthetic import synthetic

        return synthetic(split)
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
