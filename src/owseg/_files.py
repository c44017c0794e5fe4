"""Files that are written whole or not at all, and values that JSON can hold."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
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
