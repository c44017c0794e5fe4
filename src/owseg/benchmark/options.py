"""The options of a model's scorers in a recipe: [models.NAME.options.SCORER]."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from owseg._files import file_sha256
from owseg._registry import read_options
from owseg.errors import OwsegError
from owseg.image_scorers import IMAGE_SCORERS
from owseg.scorers import SCORERS


def options_as_text(where: str, table: Any, fit: Iterable[str], scorers: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the options in ``table`` as text, by scorer and option.

    Only scorers that are fitted for the model, and image scorers among its ``scorers``, have any. Raises ``OwsegError``
    for options of another scorer, one that is no value, and one that is missing and required.
    """
    images = [name for name in scorers if name in IMAGE_SCORERS]
    names = list(dict.fromkeys((*fit, *images)))
    for name, options in table.items():
        if name not in names:
            raise OwsegError(
                f"there is no key {where}.{name}; of the model's scorers, those to fit and image scorers have options: "
                f"{', '.join(names) or 'none'}."
            )
        if not isinstance(options, dict):
            raise OwsegError(f"{where}.{name} is a table of options, not {options!r}.")
    for name in images:
        entry = IMAGE_SCORERS.entries[name]
        for option in entry.facts.get("required", ()):
            if option not in table.get(name, {}):
                raise OwsegError(f"{where}.{name}.{option} is missing; give {entry.options[option]}.")
    return {
        name: {option: as_text(f"{where}.{name}.{option}", value) for option, value in options.items()}
        for name, options in table.items()
    }


def typed_options(where: str, texts: Mapping[str, Mapping[str, str]], fit: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return options as the types of their defaults; raise ``OwsegError`` for an unknown one, or of another type."""
    return {
        name: read_options((SCORERS if name in fit else IMAGE_SCORERS)[name], options, f"{where}.{name}")
        for name, options in texts.items()
    }


def digests_of_files(options: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return a SHA-256 of each file or folder that options name, so that a change of what it holds is noticed."""
    values = [value for table in options.values() for value in table.values()]
    texts = {text for value in values for text in (value if isinstance(value, tuple) else [value]) if text}
    places = sorted(text for text in texts if isinstance(text, str) and Path(text).exists())
    return {place: _digest_of(Path(place)) for place in places}


def _digest_of(place: Path) -> str:
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    listed = "".join(f"{file_sha256(path)} {path.relative_to(place)}\n" for path in files)
    return hashlib.sha256(listed.encode()).hexdigest()


def as_text(where: str, value: Any) -> str:
    """Return an option as text; raise ``OwsegError`` for what is no value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(as_text(where, part) for part in value)
    if isinstance(value, str | int | float):
        return str(value)
    raise OwsegError(f"{where} is a text, a number, true or false, or a list of these, not {value!r}.")
