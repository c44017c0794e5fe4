"""Files of a benchmark that are reused while what they were computed from is unchanged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote


def _kept(path: Path, of: str) -> dict[str, Any] | None:
    """Return what a file holds; None if there is none, or it was made of anything else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and value.pop("of", None) == of else None


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def _file(name: str) -> str:
    return quote(name, safe=" ")
