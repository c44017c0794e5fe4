"""Files that are written whole or not at all, and values as plain JSON."""

from __future__ import annotations

import os
from math import isfinite
from pathlib import Path
from typing import Any

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


def plain(value: Any) -> Any:
    """Return a value of dicts, lists and tuples as JSON has it: what is undefined or infinite is None."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not isfinite(value) else value
