"""Files that are written whole or not at all, and values that JSON can hold."""

from __future__ import annotations

import os
from math import isfinite
from pathlib import Path
from typing import Any

from owseg.errors import OwsegError


def write_whole(path: str | Path, data: bytes) -> Path:
    """Write ``data`` to ``path`` and return it; a missing folder is made.

    An error or Ctrl-C leaves the file as it was, never half of it. Raises ``OwsegError`` where it cannot be written.
    """
    path = Path(path)
    # A file is renamed in one step, so nobody reads half of it; the process id keeps two writers apart.
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
        raise OwsegError(f"{path} cannot be written ({reason}); make room, or give another path.") from None
    return path


def json_ready(value: Any) -> Any:
    """Return ``value`` with NaN and infinite floats, which JSON does not have, as None, and tuples as lists."""
    if isinstance(value, dict):
        return {k: json_ready(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(v) for v in value]
    return None if isinstance(value, float) and not isfinite(value) else value
