"""Lists of images: a text file with a path a line, or a table with a column of paths."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

from owseg._files import MAX_ANNOTATIONS, read_at_most
from owseg.errors import OwsegError

LISTS = (".txt", ".csv", ".parquet")
"""The files that are lists, by their suffix."""

COLUMNS = ("path", "image", "file")
"""The column that is read, the first of these that a table has."""


def read_list(path: Path) -> list[Path]:
    """Return the paths in a list; those that are relative are below its folder.

    Raises ``OwsegError`` for a list that cannot be read, a table without a column of ``COLUMNS``, and for no path.
    """
    readers = {".txt": lambda: _text(path).splitlines(), ".csv": lambda: _of_csv(_text(path))}
    names = readers.get(path.suffix.lower(), lambda: _of_parquet(path))()
    found = [path.parent / name for name in (name.strip() for name in names) if name]
    if not found:
        raise OwsegError(f"{path} lists no image; write one path a line, or in the column path of a table.")
    if not found[0].exists():  # of the others it is said when they are read, and they stop nothing
        raise OwsegError(f"{path} is taken for a list of images, and {found[0].name}, its first, does not exist.")
    return found


def common_folder(path: Path, images: list[Path]) -> Path:
    """Return the folder below which all ``images`` of the list at ``path`` are: its own, if they are below that."""
    if all(image.is_relative_to(path.parent) and ".." not in image.parts for image in images):
        return path.parent
    return Path(os.path.commonpath([image.parent for image in images]))


def _text(path: Path) -> str:
    try:
        # A file name may be no UTF-8. A mark at the beginning is what spreadsheets write.
        return os.fsdecode(read_at_most(path, MAX_ANNOTATIONS).removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise OwsegError(f"{path} cannot be read ({(error.strerror or str(error)).lower()}).") from None


def _of_csv(text: str) -> list[str]:
    try:
        rows = csv.DictReader(io.StringIO(text))
        column = _column(tuple(rows.fieldnames or ()))
        return [row[column] or "" for row in rows]
    except csv.Error as error:
        raise OwsegError(f"the list is no CSV ({error}); correct it there.") from None


def _of_parquet(path: Path) -> list[str]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise OwsegError(f"{path} is Parquet, which pyarrow reads; `pip install pyarrow`, or give it as CSV.") from None
    try:
        column = _column(tuple(parquet.read_schema(path).names))
        values: list[Any] = parquet.read_table(path, columns=[column])[column].to_pylist()
    except (ArrowException, OSError) as error:
        raise OwsegError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]}).") from None
    return [str(value) for value in values if value is not None]


def _column(names: tuple[str, ...]) -> str:
    for name in COLUMNS:
        if name in names:
            return name
    has = ", ".join(names) or "none"
    raise OwsegError(f"the list has no column {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}; its columns are {has}.")
