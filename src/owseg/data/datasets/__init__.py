"""Data sets, named as ``KIND:DIR``: one published layout a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from owseg._registry import Registry
from owseg.errors import OwsegError
from owseg.labels import IGNORE, UNKNOWN, LabelSpace

if TYPE_CHECKING:
    from owseg.data.dataset import DataSet, Source

DATASETS: Registry[Source] = Registry("data set", "owseg.data.datasets")
"""Kinds of data set by name; ``make(root, split)`` opens a split.

``facts`` has classes, layout, splits and licence, which ``owseg data list`` prints; ``generated`` is true for a kind
that has no folder.
"""


def open_source(spec: str, split: str) -> Source:
    """Open a split of a data set named as ``KIND:DIR``, or ``synthetic``, in its own classes.

    Raises ``OwsegError`` for an unknown kind, a folder that does not exist and another layout than that of the kind,
    and ``NoSuchSplit`` for a split that the data set does not have.
    """
    kind, _, folder = spec.partition(":")
    if kind not in DATASETS:
        kinds = ", ".join(name for name, entry in DATASETS.entries.items() if not entry.facts.get("generated"))
        raise OwsegError(f"{spec!r} names no data set; it is synthetic or KIND:DIR, where KIND is {kinds}.")
    card, root = DATASETS[kind], Path(folder).expanduser()
    if card.facts.get("generated"):
        if folder:
            raise OwsegError(f"the data set {kind} is generated and has no folder; name it as {kind}.")
    elif not folder or not root.is_dir():
        raise OwsegError(f"{folder or 'nothing'} is not a folder; name the data set as {kind}:DIR.")
    return card.make(root, split)


def open_dataset(spec: str, split: str, labels: LabelSpace | None = None, *, train: bool = False) -> DataSet:
    """Open a split of a data set against ``labels``, by default its own classes.

    Pixels of classes that ``labels`` does not have become UNKNOWN, or IGNORE with ``train=True``. Raises what
    ``open_source`` raises.
    """
    from owseg.data.dataset import DataSet

    source = open_source(spec, split)
    return DataSet(source, labels or source.classes, IGNORE if train else UNKNOWN)
