"""The knowledge bases that come with the package, and which directory a name means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from owseg._files import read_json, state_of
from owseg.errors import OwsegError, meant
from owseg.knowledge.commit import check_place
from owseg.knowledge.repository import PREFIX, download
from owseg.knowledge.versions import current_version, has_version, holds_versions, read_version

SHIPPED = Path(__file__).parent
"""``street`` (CamVid's 11 classes), ``street8`` (without car, pedestrian, bicyclist) and ``synthetic`` (the demo's
world); ``street-inliers`` and ``street8-inliers`` are the first two before they were shown outliers.
docs/model-cards.md has a card of each. ``street@1`` and so on are those of owseg 0.1.0."""


def shipped_names() -> tuple[str, ...]:
    """Return the names of the knowledge bases that come with the package, those of earlier releases left out."""
    return tuple(sorted(path.name for path in SHIPPED.iterdir() if "@" not in path.name and holds_versions(path)))


CARDS = {
    "street": "street scenes from a car (CamVid); was shown outliers and photos of other places, for better scores",
    "street-inliers": "the same without outliers, to compare with methods that were not shown any",
    "street8": "street without cars, pedestrians and bicyclists, so that these can be found and learned",
    "street8-inliers": "the same without outliers",
    "synthetic": "the drawn scenes of owseg demo; small and quick, for trials and tests",
}
"""What each is for, in a line; docs/model-cards.md has a card of each."""


@dataclass(frozen=True)
class ShippedCard:
    """What a shipped knowledge base is: its classes, bytes on the disk, working size (shorter side), and what for."""

    name: str
    classes: tuple[str, ...]
    stored_bytes: int
    size: int | None
    text: str


def shipped_cards() -> list[ShippedCard]:
    """Return what each shipped knowledge base is, in the order of ``CARDS``."""
    found = []
    for name, text in CARDS.items():
        _, folder = read_version(SHIPPED / name, verify=False)
        described = read_json(folder / "knowledge.json")
        classes = tuple(value["name"] for value in described["classes"])
        stored = sum(path.stat().st_size for path in folder.iterdir())
        found.append(ShippedCard(name, classes, stored, described["network"].get("size"), text))
    return found


def resolve(name: str | Path) -> Path:
    """Return the directory of the knowledge base that ``name`` means: one of yours, else the shipped one of that name.

    A folder of that name that holds no knowledge base does not hide the shipped one. ``hub:OWNER/NAME`` is fetched (see
    ``owseg.knowledge.repository``). Raises ``OwsegError`` where there is none of these.
    """
    if str(name).startswith(PREFIX):
        return download(str(name))
    path = Path(name).expanduser()
    if holds_versions(path):
        return path
    there = "holds no knowledge base" if path.is_dir() else state_of(path)
    # Only a bare name can be that of a shipped one.
    if len(path.parts) != 1:
        raise OwsegError(f"{path} {there}; {_hint(path)}.")
    if path.name not in shipped_names() and not holds_versions(SHIPPED / path.name):
        names, hint = ", ".join(shipped_names()), meant(path.name, shipped_names(), f"{_hint(path)}.")
        raise OwsegError(f"{path} {there}, and none that comes with owseg is called so ({names}); {hint}")
    return SHIPPED / path.name


def stored_version(kb: str) -> int | None:
    """Return the number of the version of ``kb`` that is in use; None for a published network, such as hf:NAME."""
    if ":" in kb and not kb.startswith(PREFIX):
        return None
    place = resolve(kb)
    return current_version(place) if has_version(place) else None


def _hint(path: Path) -> str:
    """Return what to give in place of a ``path`` that is no knowledge base."""
    if (path / "config.json").is_file():
        return f"it looks like a network of transformers, which hf:{path} opens"
    if (path / "knowledge.json").is_file():
        return f"it is a version of {path.parent}: give that"
    if path.suffix in (".onnx", ".xml", ".pt") and path.is_file():
        return "an export is for predict, evaluate, serve, video and info; give the knowledge base that it was made of"
    return "give the directory of a knowledge base"


def writable(kb: str, out: str | None) -> str:
    """Return where a new version of ``kb`` is stored: ``out``, or ``kb`` itself unless it came with the package.

    Raises ``OwsegError`` if neither can be, before the work that makes it.
    """
    if out is not None:
        check_place(out)
        return out
    if ":" in kb and not Path(kb).exists():  # a published network, such as hf:NAME
        raise OwsegError(f"{kb} is no directory to store a new version in; give --out DIR.")
    check_own(kb, "give --out DIR")
    check_place(kb)
    return kb


def check_own(kb: str, way: str = "name one of your own") -> None:
    """Raise ``OwsegError``, which ends with a ``way`` out, for one that came with the package or is on the hub."""
    if kb.startswith(PREFIX):
        raise OwsegError(f"{kb} is on the hub, and is not changed from here; {way}.")
    if resolve(kb).parent == SHIPPED:
        beside = f" (the folder {kb} here holds no knowledge base)" if Path(kb).is_dir() else ""
        raise OwsegError(f"{kb} came with owseg and stays as it is{beside}; {way}.")
