"""An export of a labelling tool, which is a file, a folder or a zip, as files by name; nothing is unpacked to disk."""

from __future__ import annotations

import errno
import json
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from owseg._files import MAX_ANNOTATIONS, read_at_most
from owseg.errors import OwsegError

MAX_UNPACKED = 4 << 30
"""The bytes that all members of an archive may have together."""


MAX_RATIO = 100
"""How many times larger than packed the members of an archive of over 64 MiB may be together."""


MAX_MEMBERS = 100_000
"""The files that an archive may have."""


class Files:
    """The files of an export; iterates over their names, sorted. Each is read when it is asked for."""

    def __init__(self, readers: Mapping[str, Callable[[], bytes]]) -> None:
        self._readers = dict(sorted(readers.items()))
        self._last: tuple[str, Any] | None = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def read(self, name: str) -> bytes:
        """Return what the file ``name`` holds."""
        return self._readers[name]()

    def json(self, name: str) -> Any:
        """Return the value of the JSON file ``name``; raise ``OwsegError`` if it is broken."""
        # The last value is kept, or why there is none: all formats that look at a file parse it once.
        if self._last is None or self._last[0] != name:
            try:
                self._last = (name, json.loads(self.read(name)))
            except (ValueError, RecursionError) as error:
                why = f"{name} is not JSON ({error}); correct or remove it, or name the file of annotations itself."
                self._last = (name, OwsegError(why))
        if isinstance(self._last[1], OwsegError):
            raise OwsegError(str(self._last[1]))
        return self._last[1]

    def fitting(self, fits: Callable[[Files, str], bool], what: str) -> Iterator[str]:
        """Yield the names of the files that are ``what``, as ``fits`` says.

        Raises ``OwsegError`` if there is none, and for a broken file, as it may have been one of them.
        """
        found = False
        for name in self:
            if fits(self, name):
                found = True
                yield name
        if not found:
            raise OwsegError(f"this is not {what}, nor does it hold one; give another file, or name its own format.")


@contextmanager
def opened(path: Path) -> Iterator[Files]:
    """Yield the files at ``path``: itself, or those in the folder or in the zip that are not hidden.

    A folder with nothing but a zip, and the labels that ``owseg exchange`` writes beside one, is that zip.

    Raises ``OwsegError`` if there is nothing at ``path``, for an archive that is broken, and for one whose members
    would be outside of it (absolute, ``..``), are encrypted, or would unpack to more than ``MAX_UNPACKED``.
    """
    try:
        if path.is_dir():
            files = [p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")]
            alone = [p for p in files if not p.name.endswith(".labels.json")]
            if len(alone) == 1 and alone[0].suffix.lower() == ".zip":
                with opened(alone[0]) as packed:
                    yield packed
                return
            yield Files({p.relative_to(path).as_posix(): partial(read_at_most, p, MAX_ANNOTATIONS) for p in files})
        elif not path.exists():
            raise OwsegError(f"{path} does not exist; name a file, a folder or a zip of annotations.")
        elif path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                with as_owseg_error(path, "an archive"):
                    members = [i for i in _checked(archive) if not PurePosixPath(i.filename).name.startswith(".")]
                # Bound to the open archive, so members are unpacked one at a time, when they are read.
                yield Files({i.filename: partial(archive.read, i) for i in members})
        else:
            yield Files({path.name: partial(read_at_most, path, MAX_ANNOTATIONS)})
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError) as error:
        raise OwsegError(f"{path} cannot be unpacked ({error}); export it again.") from None
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):
            raise  # of the file system; the others are of a broken bzip2 member, and of an offset that no file has
        raise OwsegError(f"{path} cannot be unpacked ({error}); export it again.") from None


@contextmanager
def as_owseg_error(path: Path, what: str) -> Iterator[None]:
    """Turn what is raised because of what the files hold into one ``OwsegError`` that names ``path``.

    ``what`` says what it should have been, such as "a COCO annotation".
    """
    try:
        yield
    except OwsegError as error:
        message = str(error)
        if message.startswith(f"{path.name} "):  # of a file that was named itself
            raise OwsegError(f"{path}{message.removeprefix(path.name)}") from None
        raise OwsegError(f"{path}: {message}") from None
    except KeyError as error:
        raise OwsegError(f"{path} is not {what}: {error} is missing.") from None
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError) as error:
        raise OwsegError(f"{path} is not {what} ({error}).") from None


def _checked(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = [i for i in archive.infolist() if not i.is_dir()]
    if len(members) > MAX_MEMBERS:
        raise OwsegError(f"it holds more than {MAX_MEMBERS:,} files; split it.")
    for member in members:
        # Names may be written for Windows: with backslashes, or with the letter of a drive.
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
            raise OwsegError(f"its member {member.filename!r} would be outside of it; do not trust this file.")
        if member.flag_bits & 1:
            raise OwsegError(f"its member {member.filename} is encrypted; unpack it first.")
    # zipfile unpacks no more than a member declares, so the declared sizes are what counts.
    unpacked, packed = sum(m.file_size for m in members), sum(m.compress_size for m in members)
    if unpacked > max(64 << 20, MAX_RATIO * packed):
        raise OwsegError(f"its {packed:,} bytes are {unpacked:,} unpacked; do not trust it.")
    if unpacked > MAX_UNPACKED:
        raise OwsegError(f"it holds more than {MAX_UNPACKED >> 30} GiB unpacked; split it.")
    return members
