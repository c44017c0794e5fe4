"""The blocks of code in the project's pages."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").rglob("*.md")))


def blocks(language: str, text: str) -> list[str]:
    """Return the blocks of ``language`` in a page, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.S | re.M)


def commands() -> list[str]:
    """Return every line of the pages that calls owseg."""
    found = (line for page in PAGES for block in blocks("sh", page.read_text()) for line in block.splitlines())
    return [line for line in found if line.startswith("owseg ")]
