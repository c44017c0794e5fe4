"""The knowledge bases that come with the package."""

from __future__ import annotations

from pathlib import Path

SHIPPED = Path(__file__).parent / "pretrained"
"""``street`` (CamVid's 11 classes), ``street8`` (without car, pedestrian, bicyclist) and ``synthetic`` (the demo's
world); each has a model card beside it in docs/."""


def resolve(name: str | Path) -> Path:
    """Return the directory that ``name`` means: itself if it exists, else the shipped knowledge base of that name."""
    path = Path(name).expanduser()
    shipped = SHIPPED / path.name
    return shipped if not path.exists() and len(path.parts) == 1 and shipped.is_dir() else path
