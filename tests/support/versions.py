"""A directory of three versions, and what is in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from owseg.errors import OwsegError
from owseg.knowledge.versions import RECORD, SUMS

FILES = {"knowledge.json": b'{"classes": ["road", "car"]}', "network.safetensors": bytes(range(256)) * 40}


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a version that were given to be stored."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in (RECORD, SUMS)}


def everything(directory: Path) -> dict[str, bytes]:
    """The files below ``directory`` by their relative path."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def spoil(path: Path, data: bytes) -> None:
    """Write ``data`` into a stored file, which is read-only."""
    path.chmod(0o644)
    path.write_bytes(data)


def says(call: Callable[[], object], *words: str) -> None:
    """Assert that ``call`` raises one sentence that has all the ``words``."""
    with pytest.raises(OwsegError) as caught:
        call()
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert message.endswith(".") and "\n" not in message
