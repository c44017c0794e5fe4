"""Writing versions: each is complete and checksummed before CURRENT names it.

A version is written aside, synced to the disk and renamed into place before CURRENT is replaced: a reader
needs no lock, and a kill at any moment leaves the old version current and whole. Writers take turns by a lock
that the system releases when they die. Nothing is deleted but what a killed writer left unfinished (``.tmp-*``).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from owseg._files import file_sha256, locked
from owseg.errors import NotCurrent, OwsegError, shown
from owseg.knowledge.versions import (
    CURRENT,
    RECORD,
    SUMS,
    check_whole,
    checksum_list,
    current_version,
    explained,
    is_stored,
    pointed_name,
    read_record,
    stored_numbers,
    version_folder,
    version_name,
    version_numbers,
)


def check_place(directory: str | Path) -> None:
    """Raise ``OwsegError`` if no version can be stored in ``directory``; called before the work that makes one."""
    directory = Path(directory)
    with explained(directory, "written"):
        if directory.exists():
            _refuse_other_files(directory)
        # The folder may not be there yet: what counts is the closest one that is.
        nearest = next(p for p in (directory, *directory.absolute().parents) if p.exists())
        if not nearest.is_dir():
            # Raised as the system would, so that ``explained`` words it in the same way.
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(nearest))
        if not os.access(nearest, os.W_OK):
            raise PermissionError(errno.EACCES, "no permission", str(nearest))


@contextmanager
def writing(directory: str | Path) -> Iterator[Path]:
    """Hold the lock of ``directory``'s writers; meanwhile nobody else stores a version or changes the current one.

    The directory is made if it is missing, and what killed writers left there is removed. Raises ``OwsegError`` if it
    cannot be written, and where it is in use for something else.
    """
    directory = Path(directory)
    with explained(directory, "written"):
        directory.mkdir(parents=True, exist_ok=True)
        with locked(directory / ".lock"):
            _refuse_other_files(directory)
            # With the lock held, no living process can be writing them.
            for leftover in directory.glob(".tmp-*"):
                _remove(leftover)
            yield directory


def commit_version(
    directory: str | Path, files: Mapping[str, bytes], message: str = "", parent: int | None = None
) -> int:
    """Store ``files`` (name: contents) as a new version, make it the current one, and return its number.

    The number is the highest that there is plus one. ``parent`` is the version that it was made from: nothing is stored
    where that is no longer the current one. By default it is the current one. Raises ``NotCurrent`` for another, and
    ``OwsegError`` if it cannot be written; neither that nor Ctrl-C leaves half a version.
    """
    _check_names(files)
    with writing(directory) as place:
        current = current_version(place) if (place / CURRENT).exists() else None
        if parent is not None:
            require_current(place, parent)
        return add_version(place, files, message, current)


def require_current(directory: Path, number: int, *also: str | None) -> None:
    """Raise ``NotCurrent`` unless CURRENT names version ``number``, or is ``also``; called while ``writing``."""
    if pointed_name(directory) not in (version_name(number), *also):
        version_folder(directory, number)  # one that does not exist is another mistake
        now = current_version(directory)
        raise NotCurrent(
            f"{directory} is at version {now} now, and this was made from version {number}: nothing was stored; "
            f"load version {now} and do the step again, or store it elsewhere."
        )


def add_version(directory: Path, files: Mapping[str, bytes], message: str, parent: int | None) -> int:
    """Store a version as ``commit_version`` does, made from ``parent`` or from none; called while ``writing``."""
    _check_names(files)
    # Above every number there is, not above the current one: after a rollback later versions stay as they are.
    number = max(stored_numbers(directory), default=0) + 1
    record = {
        "version": number,
        "parent": parent,
        "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "message": shown(" ".join(message.split())),
        "files": {name: len(data) for name, data in files.items()},
    }
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    # What did not change is shared with the parent, or else with the current version, if there is one.
    similar = pointed_name(directory) if parent is None else version_name(parent)
    _publish(directory, number, {**files, RECORD: text.encode()}, directory / (similar or CURRENT))
    return number


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name in (RECORD, SUMS):
            raise OwsegError(f"{name!r} cannot name a stored file; use letters, digits, '.', '_' and '-'.")


def rollback_version(directory: str | Path, version: int | None = None) -> int:
    """Make ``version``, by default the parent of the current one, the current version and return its number.

    Nothing is deleted; naming a later version goes forward again. Raises ``OwsegError`` if there is no such
    version, if it is not whole, or if the current one has no parent.
    """
    directory = Path(directory)
    with explained(directory, "written"):
        # Raises where there is no knowledge base, before a lock is made there.
        version_numbers(directory)
        with locked(directory / ".lock"):
            if version is None:
                now = current_version(directory)
                version = read_record(version_folder(directory, now))["parent"]
                if version is None:
                    raise OwsegError(f"version {now} of {directory} has none before it; name the version to use.")
            check_whole(version_folder(directory, version))
            _point(directory, version)
    return version


def _publish(directory: Path, number: int, files: Mapping[str, bytes], old: Path) -> None:
    """Write a whole version aside, rename it into place and point CURRENT to it; if any of that fails, remove it."""
    folder, aside = directory / version_name(number), directory / f".tmp-{version_name(number)}"
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    try:
        aside.mkdir()
        for name, data in files.items():
            # Linked only if its bytes on the disk are right: damage to the old version is not passed on.
            if not _link(old / name, aside / name, len(data), sums[name]):
                _write(aside / name, data)
        _write(aside / SUMS, checksum_list(sums))
        _sync(aside)
        aside.rename(folder)
        _point(directory, number)
    except BaseException:  # Ctrl-C too
        # Until CURRENT names it, the version does not exist; after that it is complete and stays.
        if pointed_name(directory) != version_name(number):
            if folder.exists() and not aside.exists():
                folder.rename(aside)
            _remove(aside)
        raise


def _point(directory: Path, number: int) -> None:
    """Make CURRENT name version ``number``."""
    aside = directory / f".tmp-{CURRENT}"
    try:
        _remove(aside)
        _write(aside, f"{version_name(number)}\n".encode())
        _sync(directory)  # the version has to be on the disk before CURRENT names it
        # A rename within a folder is atomic: a reader sees the old name or the new one.
        aside.replace(directory / CURRENT)
    except BaseException:
        _remove(aside)
        raise
    try:
        _sync(directory)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OwsegError(
            f"{directory} is at version {number} now, but may be at the old one after a power cut ({reason}); "
            "check the disk."
        ) from error


def _link(source: Path, target: Path, size: int, digest: str) -> bool:
    """Hard-link ``source`` if what the disk holds is the file wanted; return whether that was done."""
    with suppress(OSError):
        if source.stat().st_size == size and file_sha256(source) == digest:
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
    except OSError as error:
        # Some file systems, as of networks, sync no folders: they write them at once, or nothing can be done.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _refuse_other_files(directory: Path) -> None:
    """Raise ``OwsegError`` for a directory that is in use for something else."""
    paths = list(directory.iterdir())
    # Hidden files are the lock, and what a killed writer left.
    if directory / CURRENT not in paths and not all(path.name.startswith(".") or is_stored(path) for path in paths):
        raise OwsegError(f"{directory} holds other files and no knowledge base; choose an empty directory.")
