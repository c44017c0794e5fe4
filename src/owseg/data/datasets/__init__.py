"""Data sets by a short name, ``KIND:DIR``: one published layout a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from owseg._registry import Registry
from owseg.errors import OwsegError
from owseg.labels import IGNORE, UNKNOWN, LabelSpace

if TYPE_CHECKING:
    from owseg.data.dataset import DataSet, Source

DATASETS: Registry[Source] = Registry("data set", "owseg.data.datasets")
"""Kinds of data set by name; ``make(root, split)`` opens a split, ``facts`` has classes, layout, splits and licence."""


def open_source(spec: str, split: str) -> Source:
    """Open a split of a data set named as ``KIND:DIR``, or ``synthetic``, in its own classes.

    Raises ``OwsegError`` for an unknown kind or a folder that is not there, and its ``NoSuchSplit`` for a missing split.
    """
    kind, _, place = spec.partition(":")
    if kind not in DATASETS:
        kinds = ", ".join(name for name in DATASETS if name != "synthetic")
        raise OwsegError(f"{spec!r} names no data set; it is synthetic or KIND:DIR, where KIND is {kinds}.")
    root = Path(place).expanduser()
    if kind == "synthetic":
        if place:
            raise OwsegError("the synthetic scenes have no folder; name them as synthetic.")
    elif not place or not root.is_dir():
        raise OwsegError(f"{place or 'nothing'} is not a folder; name the data set as {kind}:DIR.")
    return DATASETS[kind].make(root, split)


def open_dataset(spec: str, split: str, labels: LabelSpace | None = None, *, train: bool = False) -> DataSet:
    """Open a data set against ``labels`` (by default its own classes).

    Pixels of classes that ``labels`` does not have become UNKNOWN, or IGNORE with ``train=True``.
    """
    from owseg.data.dataset import DataSet

    source = open_source(spec, split)
    return DataSet(source, labels or source.classes, IGNORE if train else UNKNOWN)
