"""What every table of a recipe is checked for; an error names the key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from owseg.errors import OwsegError

T = TypeVar("T")

ALL = "all"
"""The name that stands for every scorer of a knowledge base."""

TYPE_NAMES: dict[type, str] = {
    dict: "a table", list: "a list", str: "a text", int: "a whole number", float: "a number", bool: "true or false",
}  # fmt: skip


def checked(where: str, table: Any, types: Mapping[str, type], needed: Iterable[str] = ()) -> dict[str, Any]:
    """Return a table's entries; refuse unknown keys, values of another type, and a missing key that is ``needed``."""
    if not isinstance(table, dict):
        raise OwsegError(f"{where} is a table of {', '.join(types)}, not {table!r}.")
    prefix = where and f"{where}."
    for key, value in table.items():
        if key not in types:
            raise OwsegError(f"there is no key {prefix}{key}; {where or 'a recipe'} has {', '.join(types)}.")
        kind = types[key]
        if kind is list and value == ALL:  # scorers = "all" is the same as ["all"]
            table = {**table, key: [ALL]}
        elif kind is float and type(value) is int:
            table = {**table, key: float(value)}
        elif type(value) is not kind:  # not isinstance: true is an int to Python
            raise OwsegError(f"{prefix}{key} is {TYPE_NAMES[kind]}, not {value!r}.")
    if absent := [key for key in needed if key not in table]:
        raise OwsegError(f"{prefix}{absent[0]} is missing; add it.")
    return dict(table)


def tables(section: str, given: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the tables [section.NAME]; refuse an empty section, and names that cannot begin a file name."""
    if not given.get(section):
        raise OwsegError(f"{section} is missing; add a table [{section}.NAME].")
    for name in given[section]:
        if not re.match(r"\w", name):  # "../x" and ".x" would name other files than one below OUT
            raise OwsegError(f"{section}.{name!r} is not a name; begin it with a letter or a digit.")
    return list(given[section].items())


def names_in(where: str, values: list[Any]) -> tuple[str, ...]:
    """Return a list of different names; raise ``OwsegError`` for anything else."""
    if not values or not all(isinstance(v, str) and v for v in values) or len(set(values)) < len(values):
        raise OwsegError(f"{where} is a list of different names, not {values!r}.")
    return tuple(values)


def with_key(key: str, function: Callable[..., T], *args: Any) -> T:
    """Return ``function(*args)``; an error names the key of the recipe."""
    try:
        return function(*args)
    except OwsegError as error:
        raise OwsegError(f"{key}: {error}") from None
