"""Reading and writing annotations: the format is named, or when reading recognised.

Annotations pass from a reader to a writer one at a time, and a writer keeps their masks as run lengths, so that an
export may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from owseg._registry import with_options
from owseg.errors import FormatNotRecognised, OwsegError
from owseg.exchange import FORMATS
from owseg.exchange.annotation import Annotation
from owseg.exchange.archive import Files, as_owseg_error, opened
from owseg.exchange.base import Format

WHAT = "a file of annotations"


def read(path: str | Path, format: str | None = None) -> Iterator[Annotation]:
    """Yield the annotations at ``path``, a file, folder or zip, of ``format``, by default the one that is recognised.

    Each class that is marked in an image is one annotation. Raises ``OwsegError`` at once for an unknown format, and
    while iterating ``FormatNotRecognised`` for files of no format and ``OwsegError`` for broken ones.
    """
    if format is not None:
        FORMATS.require(format)  # a generator would raise it with the first annotation only
    return _read(Path(path).expanduser(), format)


def _read(path: Path, name: str | None) -> Iterator[Annotation]:
    with opened(path) as files:
        # The format is found while the files are open, so that a zip is listed and a JSON file parsed once.
        if name is None:
            with as_owseg_error(path, WHAT):
                name = _format_of(files)
        if name is None:
            raise FormatNotRecognised(
                f"{path} holds no annotations of a known format; give an export of {', '.join(FORMATS)}."
            )
        format = FORMATS.make(name)
        with as_owseg_error(path, format.what):
            yield from format.read(files)


def write(
    annotations: Iterable[Annotation],
    place: str | Path,
    format: str,
    predicted: bool = False,
    options: Mapping[str, str] | None = None,
) -> Path:
    """Write annotations in ``format`` and return the file: ``place`` itself if it has the format's suffix.

    Otherwise ``place`` is a folder, and the file in it is ``annotations`` with that suffix. ``predicted`` marks what no
    person has checked, where the format can; ``options`` are those of the format's card. Raises ``OwsegError`` for an
    unknown format or option, a format that is only read, and what the format cannot hold.
    """
    card = FORMATS[format]
    writer = with_options(card, options or {}).write
    if writer is None:
        writable = ", ".join(name for name, entry in FORMATS.entries.items() if "suffix" in entry.facts)
        raise OwsegError(f"the format {format!r} cannot be written; take one of {writable}.")
    path, suffix = Path(place).expanduser(), card.facts["suffix"]
    return writer(annotations, path if path.suffix.lower() == suffix else path / f"annotations{suffix}", predicted)


def recognise(path: str | Path) -> str | None:
    """Return the name of the format of a file, folder or zip of annotations, from what it holds; None for no format.

    Raises ``OwsegError`` for a broken file, unless another file is of a format.
    """
    path = Path(path).expanduser()
    with opened(path) as files, as_owseg_error(path, WHAT):
        return _format_of(files)


def _format_of(files: Files) -> str | None:
    """Return the format of the first file, by name, that is of one."""
    formats: dict[str, Format] = {}
    for name in FORMATS:
        with suppress(OwsegError):  # a broken plug-in is an error for whoever names its format
            formats[name] = FORMATS.make(name)
    broken: OwsegError | None = None
    for file in files:
        for name, format in formats.items():
            try:
                if format.fits(files, file):
                    return name
            except OwsegError as error:
                broken = broken or error  # reported only if no other file is of a format
    if broken:
        raise broken
    return None
