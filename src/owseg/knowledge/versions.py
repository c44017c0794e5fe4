"""A versioned directory: each version is complete, checksummed and never changed; only a pointer moves.

    kb/CURRENT     "0002", the version in use
    kb/0001/       the files, version.json (parent, time, message, sizes) and SHA256SUMS (for `sha256sum -c`)
    kb/0002/       a file equal to its parent's is a hard link to it

This file reads; ``commit.py`` writes.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from owseg._files import IN_A_FILE, file_sha256, read_json
from owseg.errors import OwsegError

CURRENT, RECORD, SUMS = "CURRENT", "version.json", "SHA256SUMS"


@dataclass(frozen=True)
class Version:
    """One version: ``parent`` is the one it was made from (None for the first), ``written`` is UTC in ISO 8601."""

    number: int
    parent: int | None
    written: str
    message: str
    current: bool


def has_version(directory: str | Path) -> bool:
    """Return whether ``directory`` has a current version; raise ``OwsegError`` where that cannot be read."""
    directory = Path(directory)
    with explained(directory, "read"):
        return (directory / CURRENT).exists()


def holds_versions(directory: str | Path) -> bool:
    """Return whether ``directory`` holds a knowledge base: a CURRENT, or where that is lost a version's folder."""
    directory = Path(directory)
    with explained(directory, "read"):
        return directory.is_dir() and (has_version(directory) or any(map(is_stored, directory.iterdir())))


def read_version(directory: str | Path, version: int | None = None, verify: bool = True) -> tuple[int, Path]:
    """Return the number and folder of a version, by default the current one, after checking that it is whole.

    Whole means that every file is there, of its size and, unless ``verify`` is False, of its checksum. Raises
    ``OwsegError`` with the name of the first file that is not.
    """
    directory = Path(directory)
    with explained(directory, "read"):
        number = current_version(directory) if version is None else version
        folder = version_folder(directory, number)
        check_whole(folder, verify)
    return number, folder


def current_version(directory: str | Path) -> int:
    """Return the number of the current version; raise ``OwsegError`` if CURRENT is missing or names none."""
    directory = Path(directory)
    with explained(directory, "read"):
        numbers, name = version_numbers(directory), pointed_name(directory)
        if name is None or not is_version(directory / name):
            what = "is missing" if name is None else f"names {name[:20]!r}, which is no version here"
            raise OwsegError(f"{directory / CURRENT} {what}; {_way_out(directory, numbers)}.")
    return int(name)


def version_numbers(directory: str | Path) -> list[int]:
    """Return the numbers of all versions, ascending; raise ``OwsegError`` where there is no knowledge base."""
    directory = Path(directory)
    with explained(directory, "read"):
        if not directory.exists():
            raise OwsegError(f"{directory} does not exist; give the directory of a knowledge base.")
        if not directory.is_dir():
            raise OwsegError(f"{directory} is a file; give the directory of a knowledge base.")
        numbers = stored_numbers(directory)
        if not numbers and not (directory / CURRENT).exists():
            raise OwsegError(f"{directory} holds no version; give the directory of a knowledge base.")
    return numbers


def version_history(directory: str | Path) -> list[Version]:
    """Return every version with its parent, oldest first; one that cannot be read says so as its message."""
    directory = Path(directory)
    with explained(directory, "read"):
        version_numbers(directory)
        lines, now = [], pointed_name(directory)
        for number in version_numbers(directory):
            try:
                record = read_record(version_folder(directory, number))
            except (OwsegError, OSError) as error:
                what = "is damaged" if isinstance(error, OwsegError) else "cannot be read"
                record = {"parent": None, "written": "", "message": f"({RECORD} {what})"}
            is_current = version_name(number) == now
            lines.append(Version(number, record["parent"], record["written"], record["message"], is_current))
    return lines


@contextmanager
def explained(directory: Path, what: str) -> Iterator[None]:
    """Turn an error of the operating system into a sentence for the user."""
    try:
        yield
    except OSError as error:
        path = error.filename or directory
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            why = "(the disk is full); free some space and try again"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            why = f"(there is no permission for {path}); change its mode, or give another path"
        elif error.errno in (errno.EEXIST, errno.ENOTDIR) and not directory.is_dir():
            why = f"({IN_A_FILE}); give another path"
        else:
            why = f"({error.strerror or error} at {path}); repair that and try again"
        raise OwsegError(f"{directory} cannot be {what} {why}.") from error


def check_whole(folder: Path, verify: bool = True) -> None:
    """Raise ``OwsegError`` for the first file of a version that is missing, cut short or changed."""
    try:
        data = (folder / SUMS).read_bytes()
        sums = {name: digest for digest, name in (line.split("  ") for line in data.decode().splitlines())}
        # Only the very bytes that were written: any other form of the list is damage.
        if data != checksum_list(sums):
            raise ValueError
    except FileNotFoundError:
        raise _damaged(folder, SUMS, "is missing") from None
    except ValueError:
        raise _damaged(folder, SUMS, "is damaged") from None
    sizes = read_record(folder)["files"]
    if sums.keys() != {RECORD, *sizes}:
        raise _damaged(folder, SUMS, f"and {RECORD} differ in the files they list")
    for name, path in ((name, folder / name) for name in (RECORD, *sizes)):
        if not path.is_file():
            raise _damaged(folder, name, "is missing")
        if verify and file_sha256(path) != sums[name]:
            raise _damaged(folder, name, f"is damaged: its checksum is not the one in {SUMS}")
        if name in sizes and path.stat().st_size != sizes[name]:
            raise _damaged(folder, name, f"is damaged: it has {path.stat().st_size} bytes, not {sizes[name]}")


def checksum_list(sums: Mapping[str, str]) -> bytes:
    """Return SHA256SUMS for digests by file name, as ``sha256sum -c`` reads it."""
    return "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode()


def read_record(folder: Path) -> dict[str, Any]:
    """Return the version.json of a version; raise ``OwsegError`` if it is missing, malformed, or another version's."""
    try:
        record: dict[str, Any] = read_json(folder / RECORD)
        # Exact types, as True would pass for a number.
        kinds = {key: type(value) for key, value in record.items()}
        root = {"version": int, "parent": type(None), "written": str, "message": str, "files": dict}
        if kinds not in (root, {**root, "parent": int}) or version_name(record["version"]) != folder.name:
            raise ValueError
    except FileNotFoundError:
        raise _damaged(folder, RECORD, "is missing") from None
    except (ValueError, AttributeError):
        raise _damaged(folder, RECORD, "is damaged") from None
    return record


def _damaged(folder: Path, name: str, what: str) -> OwsegError:
    others = [number for number in stored_numbers(folder.parent) if version_name(number) != folder.name]
    return OwsegError(f"{folder / name} {what}; {_way_out(folder.parent, others)}.")


def _way_out(directory: Path, numbers: list[int]) -> str:
    if not numbers:
        return "there is no other version, so restore it from a backup"
    span = ", ".join(map(str, numbers)) if len(numbers) < 8 else f"{numbers[0]} to {numbers[-1]}"
    return f"change to another version with `owseg rollback {directory} N` (N from {span})"


def version_folder(directory: Path, number: int) -> Path:
    """Return the folder of a version; raise ``OwsegError`` with the versions that there are for one that is not."""
    numbers = version_numbers(directory)
    if not is_version(folder := directory / version_name(number)):
        raise OwsegError(f"{directory} has no version {number}; {_way_out(directory, numbers)}.")
    return folder


def pointed_name(directory: Path) -> str | None:
    """Return what CURRENT names; None if there is no such file."""
    with suppress(FileNotFoundError):
        return (directory / CURRENT).read_text("ascii", "replace").strip()
    return None


def stored_numbers(directory: Path) -> list[int]:
    """Return the numbers of the versions in ``directory``, ascending; there may be none."""
    with os.scandir(directory) as entries:  # which knows what is a folder, without another call for each
        return sorted(int(entry.name) for entry in entries if _is_number(entry.name) and entry.is_dir())


def version_name(number: int) -> str:
    """Return the name of a version's folder."""
    return f"{number:04d}"


def is_version(path: Path) -> bool:
    """Return whether ``path`` is a folder with the name of a version."""
    return _is_number(path.name) and path.is_dir()


def _is_number(name: str) -> bool:
    # Four digits, more from 10000 on, so that names have one form and sort by number below that.
    return re.fullmatch(r"[0-9]{4}|[1-9][0-9]{4,}", name) is not None


def is_stored(path: Path) -> bool:
    """Return whether ``path`` is a version's folder by its contents, too; a folder of photos may be called 2024."""
    return is_version(path) and (path / RECORD).exists()
