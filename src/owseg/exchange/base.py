"""What an annotation format is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from owseg.exchange.annotation import Annotation


class Writer(Protocol):
    """Writes annotations to a file and returns it; ``predicted`` marks what no person has checked, where it can."""

    def __call__(self, annotations: Iterable[Annotation], path: Path, predicted: bool = False) -> Path:
        """Write the file ``path``, whole or not at all."""
        ...


@dataclass(frozen=True)
class Format:
    """How annotations of one labelling tool are recognised, read and written.

    ``fits(name, data)`` says whether a file of an export, its name and a function that reads it, is of this format;
    ``write`` is None where the format is only read.
    """

    fits: Callable[[str, Callable[[], bytes]], bool]
    read: Callable[[str | Path], Iterator[Annotation]]
    write: Writer | None = None
