"""What an annotation format is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from owseg.exchange.annotation import Annotation
from owseg.exchange.archive import Files


class Writer(Protocol):
    """Writes annotations to a file and returns it; ``predicted`` marks what no person has checked, where it can."""

    def __call__(self, annotations: Iterable[Annotation], path: Path, predicted: bool = False) -> Path:
        """Write the file ``path``, whole or not at all."""
        ...


@dataclass(frozen=True)
class Format:
    """How annotations of one labelling tool are recognised, read and written.

    ``what`` names a file of the format in errors, such as "a COCO annotation". ``fits(files, name)`` says whether one
    of the files of an export is of this format; ``read(files)`` yields one annotation for each class that is marked in
    an image. ``write`` is None where the format is only read.

    What ``fits`` and ``read`` raise because a file is broken (``KeyError``, ``ValueError`` and the like) becomes an
    ``OwsegError`` that names the file (see ``owseg.exchange.archive.as_owseg_error``).
    """

    what: str
    fits: Callable[[Files, str], bool]
    read: Callable[[Files], Iterator[Annotation]]
    write: Writer | None = None
