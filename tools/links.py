"""Check the links of every page: relative ones lead to a file that is there, anchors to a heading of it.

    python -m tools.links

Prints a line for each link that leads nowhere, and exits with 1 if there is one. Links to other sites are not followed:
a check that needs the network fails for reasons that are not ours.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.M)
CODE = re.compile(r"^(`{3,}|~{3,}).*?^\1\s*$", re.M | re.S)


def prose(text: str) -> str:
    """Return a page's Markdown without its blocks of code, in which a ``#`` is no heading and ``[a](b)`` no link."""
    return CODE.sub("", text)


def slug(heading: str) -> str:
    """Return the anchor of a heading as GitHub makes it."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings; a second heading of one name gets ``-1``."""
    found: dict[str, int] = {}
    for heading in map(slug, HEADING.findall(prose(text))):
        found[heading] = found.get(heading, -1) + 1
    return {f"{name}-{i}" if i else name for name, last in found.items() for i in range(last + 1)}


def broken(page: Path, root: Path) -> Iterator[str]:
    """Yield a sentence for each link of ``page`` that leads nowhere, or out of the project at ``root``."""
    for link in LINK.findall(prose(page.read_text())):
        if re.match(r"[a-z][a-z+.-]*:", link):
            continue
        place, _, anchor = unquote(link).partition("#")
        target = (page.parent / place).resolve() if place else page
        if not target.is_relative_to(root.resolve()) or not target.exists():
            yield f"{page.relative_to(root)} links to {link}, which is not there."
        elif anchor and (target.suffix != ".md" or anchor not in anchors(target.read_text())):
            yield f"{page.relative_to(root)} links to {link}, but {target.name} has no such heading."


def pages(root: Path) -> list[Path]:
    """Return the Markdown pages of the project: those that git has, or would add."""
    listed = ["git", "-C", str(root), "ls-files", "-co", "--exclude-standard", "*.md"]
    names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.splitlines()
    return [path for name in names if (path := root / name).is_file()]


def main() -> int:
    """Print what is broken, and return the exit code."""
    root = Path(__file__).resolve().parents[1]
    found = [line for page in pages(root) for line in broken(page, root)]
    print("\n".join(found) or "Every link leads somewhere.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
