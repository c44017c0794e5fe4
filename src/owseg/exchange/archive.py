"""What a labelling tool exports, a file, a folder or a zip, as files by name; nothing is ever unpacked to disk."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from owseg.errors import OwsegError

MAX_UNPACKED = 4 << 30
"""An archive may hold this many bytes in all."""


MAX_RATIO = 100
"""A member of an archive that is over 64 MiB may be this many times as large as it is packed."""


Files: TypeAlias = dict[str, Callable[[], bytes]]
"""Files by name: each is read when called."""


@contextmanager
def opened(path: str | Path, what: str) -> Iterator[Files]:
    """Give the files at ``path`` by name, sorted: itself, those in the folder or in the zip that are not hidden.

    Whatever goes wrong inside the ``with`` because of what the files hold ends in one ``OwsegError`` that names
    ``path``; ``what`` says what it should have been, such as "a COCO annotation". So does an archive whose members
    leave it (absolute, ``..``), are encrypted, or would unpack to more than ``MAX_UNPACKED``.
    """
    path = Path(path).expanduser()
    try:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
            yield {p.relative_to(path).as_posix(): p.read_bytes for p in found}
        elif not path.exists():
            raise FileNotFoundError
        elif path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                members = [i for i in _checked(archive) if not PurePosixPath(i.filename).name.startswith(".")]
                yield {i.filename: partial(archive.read, i) for i in members}
        else:
            yield {path.name: path.read_bytes}
    except FileNotFoundError:
        raise OwsegError(f"{path} does not exist.") from None
    except OwsegError as error:
        raise OwsegError(f"{path}: {error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise OwsegError(f"{path} cannot be unpacked ({error}); export it again.") from None
    except KeyError as error:
        raise OwsegError(f"{path} is not {what}: {error} is missing.") from None
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError) as error:
        raise OwsegError(f"{path} is not {what} ({error}).") from None


def jsons(files: Files, fits: Callable[[Any], bool], what: str) -> Iterator[tuple[str, Any]]:
    """Yield name and value of the JSON files that are ``what``, as ``fits`` says.

    Raises ``OwsegError`` if none is, and for one that is broken: it may have been one of them.
    """
    none = True
    for name, data in files.items():
        if name.lower().endswith(".json") and fits(value := parsed(name, data())):
            none = False
            yield name, value
    if none:
        raise OwsegError(f"this is not {what}, nor does it hold one.")


def parsed(name: str, data: bytes) -> Any:
    """Return the value of the JSON file ``name``; raise ``OwsegError`` if it is broken."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise OwsegError(
            f"{name} is not JSON ({error}); mend or remove it, or name the file of annotations itself."
        ) from None


def _checked(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = sorted((i for i in archive.infolist() if not i.is_dir()), key=lambda i: i.filename)
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
            raise OwsegError(f"its member {member.filename!r} would lie outside of it; do not trust this file.")
        if member.flag_bits & 1:
            raise OwsegError(f"its member {member.filename} is encrypted; unpack it first.")
        if member.file_size > max(64 << 20, MAX_RATIO * member.compress_size):
            raise OwsegError(f"its member {member.filename} is {member.file_size} bytes unpacked; do not trust it.")
    if sum(m.file_size for m in members) > MAX_UNPACKED:
        raise OwsegError(f"it holds more than {MAX_UNPACKED >> 30} GiB unpacked; split it.")
    return members
