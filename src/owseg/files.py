"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from owseg.errors import OwsegError


def write_whole(path: str | Path, data: bytes) -> Path:
    """Write ``data`` aside, rename it into place and return the path; a folder that is missing is made.

    Raises ``OwsegError`` where that cannot be done; neither that nor Ctrl-C leaves half a file, or harms the one that
    was there.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_bytes(data)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OwsegError(f"{path} cannot be written ({reason}); make room, or name another place.") from None
    return path
