"""The knowledge bases that come with the package."""

from __future__ import annotations

from pathlib import Path

from owseg.errors import OwsegError

SHIPPED = Path(__file__).parent
"""``street`` (CamVid's 11 classes), ``street8`` (without car, pedestrian, bicyclist) and ``synthetic`` (the demo's
world); docs/model-cards.md has a card of each."""


def resolve(name: str | Path) -> Path:
    """Return the directory that ``name`` means: itself if it exists, else the shipped knowledge base of that name."""
    path = Path(name).expanduser()
    shipped = SHIPPED / path.name
    return shipped if not path.exists() and len(path.parts) == 1 and shipped.is_dir() else path


def writable(kb: str, out: str | None) -> str:
    """Return where a new version is stored: ``out``, or ``kb`` itself unless it came with the package.

    Raises ``OwsegError`` if neither can be.
    """
    if out is not None:
        return out
    if Path(kb).exists():
        return kb
    if resolve(kb).exists():
        raise OwsegError(f"{kb} came with owseg and stays as it is; give --out DIR.")
    raise OwsegError(f"{kb} does not exist; name the directory of a knowledge base.")
