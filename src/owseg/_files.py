"""Files that are written whole or not at all, text of a bounded size, checksums, and values that JSON can hold."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from itertools import islice
from math import isfinite
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from zlib import crc32

from owseg.errors import OwsegError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ERRORS = "errors.csv"
"""The file beside the results that names the images without one, with the reasons; only if there are any."""

MAX_TEXT = 64 << 20
"""The bytes that a text may have: as JSON, values take up to 25 times as many in memory."""

MAX_ANNOTATIONS = 1 << 30
"""The bytes that a file of annotations may have; those of COCO's training images have 0.45 GB."""

MAX_TOML = 1 << 20
MAX_DOTS = 100
"""The bytes that a TOML file may have, and the dots in a line: tomllib takes memory of their square."""


def state_of(path: Path) -> str:
    """Return what a path is that should be something else: that it "does not exist", or "is a folder" or "a file"."""
    return "is a folder" if path.is_dir() else "is a file" if path.exists() else "does not exist"


def read_at_most(path: Path, most: int = MAX_TEXT) -> bytes:
    """Return what a file holds.

    Raises ``OwsegError`` for a file of more than ``most`` bytes, ``OSError`` if it cannot be read.
    """
    with path.open("rb") as file:
        data = b"".join(islice(iter(partial(file.read, 1 << 20), b""), (most >> 20) + 1))
    if len(data) > most:
        raise OwsegError(f"{path} has more than {most >> 20:,} MiB; name another file, or split it.")
    return data


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def read_json(path: Path, what: str = "JSON", most: int = MAX_TEXT) -> Any:
    """Return the value of a JSON file; raise ``OwsegError`` if it is not ``what``, and as ``read_at_most`` does."""
    data = read_at_most(path, most)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise OwsegError(f"{path} is not {what} ({error}); correct it there.") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Return the value of a TOML file; raise ``OwsegError`` if it is not TOML, and as ``read_at_most`` does."""
    data = read_at_most(path, MAX_TOML)
    try:
        text = data.decode()
        if max((line.partition("#")[0].count(".") for line in text.splitlines()), default=0) > MAX_DOTS:
            raise ValueError(f"a line has more than {MAX_DOTS} dots")
        value: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise OwsegError(f"{path} is not TOML ({error}); correct it there.") from None
    return value


def write_whole(path: str | Path, data: bytes) -> Path:
    """Write ``data`` to ``path`` and return it; a missing folder is made.

    An error or Ctrl-C leaves the file as it was, never half of it. Raises ``OwsegError`` where it cannot be written.
    """
    with replacing(path := Path(path)) as aside:
        aside.write_bytes(data)
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a file that takes the place of ``path`` where the block ends well; a missing folder is made.

    Raises ``OwsegError`` where it cannot be written.
    """
    # A file is renamed in one step, so nobody reads half of it; the process id keeps two writers apart. The name itself
    # may be as long as names can be, so its checksum stands for it.
    aside = path.with_name(f".{_host()}-{os.getpid()}-{crc32(os.fsencode(path.name)):08x}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        aside.unlink(missing_ok=True)  # left by a killed process that had the number of this one
        try:
            yield aside
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None


def append(path: Path, data: bytes) -> None:
    """Add ``data`` to the end of a file; raise ``OwsegError`` where that is not possible."""
    try:
        with path.open("ab") as file:
            file.write(data)
    except OSError as error:
        raise _unwritable(path, error) from None


def csv_cell(text: str) -> str:
    """Return a text as a cell of CSV; where a spreadsheet would take it for a formula, behind an apostrophe."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def write_errors(folder: Path, errors: Iterable[tuple[str | Path, str]]) -> None:
    """Write what could not be processed and the reasons as ``ERRORS``; without any, remove that file."""
    rows = [(str(path), error) for path, error in errors]
    if not rows:
        (folder / ERRORS).unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("path", "error"), *((csv_cell(path), csv_cell(error)) for path, error in rows)])
    write_whole(folder / ERRORS, text.getvalue().encode(errors="surrogateescape"))


def check_writable(folder: Path) -> None:
    """Raise ``OwsegError`` unless files can be written to ``folder``; one that is not there yet is not made."""
    try:
        there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        with TemporaryFile(dir=there) as file:
            file.write(b"x")
    except OSError as error:
        raise _unwritable(folder, error) from None


def fits(path: Path) -> bool:
    """Return whether the file system takes a file name, and a path, as long as that of ``path``."""
    try:
        path.lstat()
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG
    return True


def _unwritable(path: Path, error: OSError) -> OwsegError:
    in_file = error.errno in (errno.ENOTDIR, errno.EEXIST)
    reason = IN_A_FILE if in_file else (error.strerror or str(error)).lower()
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        advice = "make room, or give another path"
    elif error.errno == errno.ENAMETOOLONG:
        advice = "give a shorter name"
    else:
        advice = "give another path"
    return OwsegError(f"{path} cannot be written ({reason}); {advice}.")


IN_A_FILE = "it is, or lies in, a file"
"""Why a folder cannot be made at a path."""


@cache
def _remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left in ``folder``; looked for once by each process, as a folder may hold many files.

    A process of another machine, or of another container, cannot be found here, so that its files stay.
    """
    if sys.platform == "win32":
        return  # os.kill would end the process there
    for left in folder.glob(f".{_host()}-*-*.part"):
        try:
            os.kill(int(left.name.split("-")[1]), 0)
        except (ProcessLookupError, OverflowError):
            left.unlink(missing_ok=True)
        except (PermissionError, ValueError):
            pass  # it lives, as another user's, or this is no file of ours


def _host() -> str:
    return f"{crc32(platform.node().encode()):08x}"


@contextmanager
def locked(path: Path, busy: str = "") -> Iterator[None]:
    """Hold the lock that the file ``path`` stands for; the system releases it when its holder dies.

    Waits while another process, or another thread, holds it; with ``busy`` that is an ``OwsegError`` of this sentence
    instead. Raises ``OSError`` where the file cannot be made.
    """
    if sys.platform == "win32":
        raise OwsegError(f"{path.parent} cannot be written on Windows, which lacks flock; use WSL.")
    import fcntl

    # The file is never removed: who waits for it would then hold a lock on a file that is gone.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise OwsegError(busy) from None
        yield
    finally:
        os.close(descriptor)


def begin_or_resume(
    folder: Path,
    record: str,
    value: Mapping[str, Any],
    read: Callable[[], Mapping[str, Any]],
    differs: Mapping[str, str],
    content: str,
) -> bool:
    """Start a folder whose file ``record`` says what it is for, or check that the one there is for the same.

    ``value`` is what a new record says, as plain JSON, and ``read`` returns what the one that is there says.
    ``differs`` maps each key that has to agree to what another value means, such as {"data": "of another data set"}.
    ``content`` names what the folder holds, in the plural. Returns whether the folder was there. Raises ``OwsegError``
    where a key differs, and where the folder holds files but no record.
    """
    if (folder / record).exists():
        there, wanted = (json.loads(json.dumps(one)) for one in (read(), value))  # JSON has no tuples
        for key, words in differs.items():
            if there[key] != wanted[key]:
                values = f" ({there[key]}, not {wanted[key]})"
                values = values if len(values) < 200 else ""
                raise OwsegError(f"{folder} holds {content} {words}{values}; remove it, or name another folder.")
        return True
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OwsegError(
            f"{folder} holds other files and no {record}; name an empty or a new folder for the {content}."
        )
    write_whole(folder / record, (json.dumps(value, indent=1) + "\n").encode())
    return False


def json_ready(value: Any) -> Any:
    """Return a value of dicts, lists and tuples as plain JSON; NaN and infinite numbers become None."""
    if isinstance(value, dict):
        return {k: json_ready(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(v) for v in value]
    return None if isinstance(value, float) and not isfinite(value) else value
