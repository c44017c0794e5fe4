"""A versioned directory: each version is complete, checksummed and never changed; only a pointer moves.

    kb/CURRENT     "0002", the version in use
    kb/0001/       the files, version.json (parent, time, message, sizes) and SHA256SUMS (for `sha256sum -c`)
    kb/0002/       a file equal to its parent's is a hard link to it

A version is written aside, synced to the disk and renamed into place before CURRENT is replaced: a reader
needs no lock, and a kill at any moment leaves the old version current and whole. Writers take turns by a lock
that dies with them. Nothing is ever deleted but what a dead writer left unfinished (``.tmp-*``).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from owseg.errors import OwsegError

CURRENT, RECORD, SUMS = "CURRENT", "version.json", "SHA256SUMS"


@dataclass(frozen=True)
class Version:
    """A line of the history: ``parent`` is None for a root, ``written`` is UTC in ISO 8601."""

    number: int
    parent: int | None
    written: str
    message: str
    current: bool


def check_place(directory: str | Path) -> None:
    """Raise ``OwsegError`` if a version could not be stored in ``directory``, before there is one to lose."""
    directory = Path(directory)
    with _explained(directory, "written"):
        if directory.exists():
            _refuse_a_strangers(directory)
        nearest = next(p for p in (directory, *directory.absolute().parents) if p.exists())
        if not os.access(nearest, os.W_OK):
            raise PermissionError(errno.EACCES, "no permission", str(nearest))


def holds(directory: str | Path) -> bool:
    """Return whether there is a version in use in ``directory``."""
    return (Path(directory) / CURRENT).exists()


def commit(directory: str | Path, files: Mapping[str, bytes], message: str = "", parent: int | None = None) -> int:
    """Store ``files`` (name: contents) as a new version, make it the current one, and return its number.

    The number is the highest there is plus one. ``parent`` is the version it was made from, by default the
    current one. Raises ``OwsegError`` if it cannot be written; neither that nor Ctrl-C leaves half a version.
    """
    directory = Path(directory)
    for name in files:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name in (RECORD, SUMS):
            raise OwsegError(f"{name!r} cannot name a stored file; use letters, digits, '.', '_' and '-'.")
    with _explained(directory, "written"):
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory):
            _refuse_a_strangers(directory)
            for leftover in directory.glob(".tmp-*"):
                _remove(leftover)
            if parent is None and (directory / CURRENT).exists():
                parent = current(directory)
            old = None if parent is None else _folder(directory, parent)
            number = max(_numbers(directory), default=0) + 1
            record = {
                "version": number,
                "parent": parent,
                "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "message": " ".join(message.split()),
                "files": {name: len(data) for name, data in files.items()},
            }
            text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
            _publish(directory, number, {**files, RECORD: text.encode()}, old)
    return number


def read(directory: str | Path, version: int | None = None, verify: bool = True) -> tuple[int, Path]:
    """Return the number and folder of a version, by default the current one, once it is found whole.

    Whole: every file is there, of its size and, unless ``verify`` is False, of its checksum. Raises
    ``OwsegError`` with the name of the file that is not.
    """
    directory = Path(directory)
    with _explained(directory, "read"):
        number = current(directory) if version is None else version
        folder = _folder(directory, number)
        _check(folder, verify)
    return number, folder


def current(directory: str | Path) -> int:
    """Return the number of the version in use; raise ``OwsegError`` if CURRENT is missing or names none."""
    directory = Path(directory)
    with _explained(directory, "read"):
        numbers, name = versions(directory), _pointed(directory)
        if name is None or not _is_version(directory / name):
            what = "is missing" if name is None else f"names {name[:20]!r}, which is no version here"
            raise OwsegError(f"{directory / CURRENT} {what}; {_way_out(directory, numbers)}.")
    return int(name)


def versions(directory: str | Path) -> list[int]:
    """Return the numbers of all versions, ascending; raise ``OwsegError`` where no knowledge base is."""
    directory = Path(directory)
    with _explained(directory, "read"):
        if not directory.exists():
            raise OwsegError(f"{directory} does not exist; give the directory of a knowledge base.")
        if not directory.is_dir():
            raise OwsegError(f"{directory} is a file; give the directory of a knowledge base.")
        numbers = _numbers(directory)
        if not numbers and not (directory / CURRENT).exists():
            raise OwsegError(f"{directory} holds no version; give the directory of a knowledge base.")
    return numbers


def rollback(directory: str | Path, version: int | None = None) -> int:
    """Make ``version``, by default the parent of the current one, the current version and return its number.

    Nothing is deleted; naming a later version goes forward again. Raises ``OwsegError`` if there is no such
    version, if it is not whole, or if the current one has no parent.
    """
    directory = Path(directory)
    with _explained(directory, "written"):
        versions(directory)
        with _locked(directory):
            if version is None:
                now = current(directory)
                version = _record(_folder(directory, now))["parent"]
                if version is None:
                    raise OwsegError(f"version {now} of {directory} has none before it; name the one you want.")
            _check(_folder(directory, version))
            _point(directory, version)
    return version


def history(directory: str | Path) -> list[Version]:
    """Return every version with its parent, oldest first; a damaged one says so as its message."""
    directory = Path(directory)
    with _explained(directory, "read"):
        versions(directory)
        lines, now = [], _pointed(directory)
        for number in versions(directory):
            try:
                record = _record(_folder(directory, number))
            except OwsegError:
                record = {"parent": None, "written": "", "message": f"({RECORD} is damaged)"}
            at_hand = _name(number) == now
            lines.append(Version(number, record["parent"], record["written"], record["message"], at_hand))
    return lines


def _publish(directory: Path, number: int, files: Mapping[str, bytes], old: Path | None) -> None:
    """Write a whole version aside, rename it into place and point CURRENT to it; or leave no trace of it."""
    folder, aside = directory / _name(number), directory / f".tmp-{_name(number)}"
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    try:
        aside.mkdir()
        for name, data in files.items():
            if old is None or not _link(old / name, aside / name, len(data), sums[name]):
                _write(aside / name, data)
        _write(aside / SUMS, _listing(sums))
        _sync(aside)
        aside.rename(folder)
        _point(directory, number)
    except BaseException:  # Ctrl-C too
        if _pointed(directory) != _name(number):
            if folder.exists() and not aside.exists():
                folder.rename(aside)
            _remove(aside)
        raise


def _point(directory: Path, number: int) -> None:
    aside = directory / f".tmp-{CURRENT}"
    try:
        _remove(aside)
        _write(aside, f"{_name(number)}\n".encode())
        _sync(directory)  # the version has to be on the disk before CURRENT names it
        aside.replace(directory / CURRENT)
        _sync(directory)
    except BaseException:
        _remove(aside)
        raise


def _link(source: Path, target: Path, size: int, digest: str) -> bool:
    """Hard-link ``source`` if what the disk holds is the file wanted; return whether that was done."""
    with suppress(OSError):
        if source.stat().st_size == size and _sha256(source) == digest:
            os.link(source, target)
            return True
    return False


def _write(path: Path, data: bytes) -> None:
    # Read-only, because an edit in place would change every version that shares the file.
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o444)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the directory's one writing permit; wait while another process has it."""
    if sys.platform == "win32":
        raise OwsegError(f"{directory} cannot be written on Windows, which lacks flock; use WSL.")
    import fcntl

    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _explained(directory: Path, what: str) -> Iterator[None]:
    """Turn an error of the operating system into a sentence for the user."""
    try:
        yield
    except OSError as error:
        path = error.filename or directory
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            why = "the disk is full; free some space and try again"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            why = f"there is no permission for {path}; change its mode, or choose another directory"
        elif error.errno in (errno.EEXIST, errno.ENOTDIR) and not directory.is_dir():
            why = "it is, or lies in, a file; choose another directory"
        else:
            why = f"{error.strerror or error} at {path}; mend that and try again"
        raise OwsegError(f"{directory} could not be {what}: {why}.") from error


def _refuse_a_strangers(directory: Path) -> None:
    paths = list(directory.iterdir())
    if directory / CURRENT not in paths and not all(path.name.startswith(".") or _is_version(path) for path in paths):
        raise OwsegError(f"{directory} holds other files and no knowledge base; choose an empty directory.")


def _check(folder: Path, verify: bool = True) -> None:
    """Raise ``OwsegError`` for the first file of a version that is missing, cut short or changed."""
    try:
        data = (folder / SUMS).read_bytes()
        sums = {name: digest for digest, name in (line.split("  ") for line in data.decode().splitlines())}
        if data != _listing(sums):
            raise ValueError
    except FileNotFoundError:
        raise _damaged(folder, SUMS, "is missing") from None
    except ValueError:
        raise _damaged(folder, SUMS, "is damaged") from None
    sizes = _record(folder)["files"]
    if sums.keys() != {RECORD, *sizes}:
        raise _damaged(folder, SUMS, f"and {RECORD} differ in the files they list")
    for name, path in ((name, folder / name) for name in (RECORD, *sizes)):
        if not path.is_file():
            raise _damaged(folder, name, "is missing")
        if verify and _sha256(path) != sums[name]:
            raise _damaged(folder, name, f"is damaged: its checksum is not the one in {SUMS}")
        if name in sizes and path.stat().st_size != sizes[name]:
            raise _damaged(folder, name, f"is damaged: it has {path.stat().st_size} bytes, not {sizes[name]}")


def _listing(sums: Mapping[str, str]) -> bytes:
    return "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode()


def _record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / RECORD).read_bytes())
        kinds = {key: type(value) for key, value in record.items()}
        root = {"version": int, "parent": type(None), "written": str, "message": str, "files": dict}
        if kinds not in (root, {**root, "parent": int}) or _name(record["version"]) != folder.name:
            raise ValueError
    except FileNotFoundError:
        raise _damaged(folder, RECORD, "is missing") from None
    except (ValueError, AttributeError):
        raise _damaged(folder, RECORD, "is damaged") from None
    return record


def _damaged(folder: Path, name: str, what: str) -> OwsegError:
    others = [number for number in _numbers(folder.parent) if _name(number) != folder.name]
    return OwsegError(f"{folder / name} {what}; {_way_out(folder.parent, others)}.")


def _way_out(directory: Path, numbers: list[int]) -> str:
    if not numbers:
        return "there is no other version, so restore it from a backup"
    span = ", ".join(map(str, numbers)) if len(numbers) < 8 else f"{numbers[0]} to {numbers[-1]}"
    return f"change to another version with `owseg rollback {directory} N` (N from {span})"


def _folder(directory: Path, number: int) -> Path:
    numbers = versions(directory)
    if not _is_version(folder := directory / _name(number)):
        raise OwsegError(f"{directory} has no version {number}; {_way_out(directory, numbers)}.")
    return folder


def _pointed(directory: Path) -> str | None:
    with suppress(FileNotFoundError):
        return (directory / CURRENT).read_text("ascii", "replace").strip()
    return None


def _numbers(directory: Path) -> list[int]:
    return sorted(int(path.name) for path in directory.iterdir() if _is_version(path))


def _name(number: int) -> str:
    return f"{number:04d}"


def _is_version(path: Path) -> bool:
    return re.fullmatch(r"[0-9]{4}|[1-9][0-9]{4,}", path.name) is not None and path.is_dir()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
