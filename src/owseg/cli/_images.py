"""The images that a command is given: by name, or as a list on standard input; and what was left out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from owseg._files import MAX_TEXT
from owseg.cli._printing import print_note
from owseg.errors import OwsegError

if TYPE_CHECKING:
    from owseg.data.search import Search


def given_images(names: Sequence[str], recursive: bool, apart: Path | None = None) -> Search:
    """Return the images that ``names`` stand for (``search_images``), and print what was not taken.

    The name ``-`` stands for those on standard input (``listed_paths``). ``apart`` is a folder of results.
    """
    from owseg.data.search import search_images

    found = search_images([n for name in names for n in (listed_paths() if name == "-" else (name,))], recursive, apart)
    for note in found.notes:
        print_note(f"Note: {note}")
    return found


def listed_paths() -> list[str]:
    """Return the paths on standard input: one a line, or with NUL between them as ``find -print0`` writes them.

    Raises ``OwsegError`` for none, and for more than ``MAX_TEXT`` bytes.
    """
    data = sys.stdin.buffer.read(MAX_TEXT + 1)
    if len(data) > MAX_TEXT:
        raise OwsegError(f"standard input has more than {MAX_TEXT >> 20} MiB of paths; give them in parts.")
    # A file name may hold any other byte, also one that is no UTF-8.
    parts = data.split(b"\0") if b"\0" in data else data.splitlines()
    if not (paths := [os.fsdecode(part) for part in parts if part]):
        raise OwsegError("standard input names no image; write one path a line.")
    return paths
