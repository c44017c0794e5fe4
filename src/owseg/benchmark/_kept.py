"""Results on disk that are reused while what they were computed from is unchanged, which its digest tells."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from owseg._files import write_whole

DIGEST = "of"
"""The key of the digest in a kept file."""


def read_kept(path: Path, digest: str) -> dict[str, Any] | None:
    """Return the content of a kept file; None if it is absent, damaged or computed from anything else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and value.pop(DIGEST, None) == digest else None


def write_kept(path: Path, digest: str, value: Mapping[str, Any]) -> Path:
    """Write a value, as plain JSON, with the digest of what it was computed from."""
    return write_whole(path, json_bytes({DIGEST: digest, **value}))


def digest_of(*parts: Any) -> str:
    """Return a short SHA-256 of parts that are plain JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def json_bytes(value: Any) -> bytes:
    """Return a value as indented JSON; raise ``ValueError`` for NaN."""
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def file_name(name: str) -> str:
    """Return a name as a file name: what may not stand in one is percent-encoded."""
    return quote(name, safe=" ")
