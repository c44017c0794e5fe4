"""Data sets, named as ``KIND:DIR``: one published layout a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from owseg._files import state_of
from owseg._registry import Registry
from owseg.errors import OwsegError, meant
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
        raise OwsegError(_unknown(spec))
    card, root = DATASETS[kind], Path(folder).expanduser()
    if card.facts.get("generated"):
        if folder:
            raise OwsegError(f"the data set {kind} is generated and has no folder; name it as {kind}.")
    elif not folder:
        raise OwsegError(f"{kind} is in a folder; name the data set as {kind}:DIR.")
    elif not root.is_dir():
        raise OwsegError(f"{folder} {state_of(root)}; name the folder of the data set.")
    return card.make(root, split)


def _unknown(spec: str) -> str:
    """Return what is wrong with a ``spec`` of no kind of data set."""
    kind, colon, _ = spec.partition(":")
    if colon:
        others = "owseg data list has those that there are."
        return f"there is no kind of data set {kind!r}; {meant(kind, DATASETS, others)}"
    path = Path(spec).expanduser()
    there = "holds no images/" if path.is_dir() else state_of(path)
    own = "a folder with images/, masks/ and classes.json"
    return f"{spec} {there}; name {own}, or a published data set as KIND:DIR (see owseg data list)."


def open_dataset(spec: str, split: str, labels: LabelSpace | None = None, *, train: bool = False) -> DataSet:
    """Open a split of a data set against ``labels``, by default its own classes.

    Pixels of classes that ``labels`` does not have become UNKNOWN, or IGNORE with ``train=True``. Raises what
    ``open_source`` raises.
    """
    from owseg.data.dataset import DataSet

    source = open_source(spec, split)
    return DataSet(source, labels or source.classes, IGNORE if train else UNKNOWN)
