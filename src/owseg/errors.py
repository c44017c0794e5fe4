"""The exceptions whose message is written for the user, and how text from files is shown.

ValueError
└── OwsegError                something that the user can correct
    ├── NoSuchSplit           the data set has no split of that name
    ├── NotCurrent            the version that something was made from is no longer the current one
    └── FormatNotRecognised   files hold annotations of no format that is known
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any


class OwsegError(ValueError):
    """Something that the user can correct; the message is one sentence that names the thing and says what to do."""


class NoSuchSplit(OwsegError):
    """The data set exists, but has no split of the name that was asked for."""

    @classmethod
    def of(cls, place: object, split: str, present: Iterable[str]) -> NoSuchSplit:
        """Return the error about ``split`` of the data set ``place``, which has the splits ``present``."""
        return cls(f"{place} has no split {split!r}; it has {', '.join(present)}.")


class NotCurrent(OwsegError):
    """A knowledge base was made from a version that is no longer the current one; nothing was stored."""


class FormatNotRecognised(OwsegError):
    """A file, folder or archive holds annotations of no format that is known."""


def meant(name: str, names: Iterable[str], others: str) -> str:
    """Return the end of a sentence about a ``name`` that there is not: the one of ``names`` that is like it.

    Where none is, it is ``others``, such as the list of them.
    """
    found = get_close_matches(name, names, 1, 0.8)
    return f"did you mean {found[0]}?" if found else others


def check_numbers(settings: Any, least: Mapping[str, float], positive: Collection[str] = ()) -> None:
    """Raise ``OwsegError`` for a number of ``settings``, a dataclass, that is below the ``least`` of its name.

    So for one that is not above 0 though it is to be ``positive``, and for any that is NaN or infinite. Of a tuple each
    number counts.
    """
    for name in (field.name for field in fields(settings)):
        value = getattr(settings, name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise OwsegError(f"{name} must be a number, not {number}.")
            if name in least and number is not None and number < least[name]:
                raise OwsegError(f"{name} must be {least[name]:g} or more, not {number:g}.")
            if name in positive and number <= 0:
                raise OwsegError(f"{name} must be above 0, not {number:g}.")


def shown(text: object) -> str:
    """Return ``text`` as a terminal may have it: what is not printable is escaped, as in ``\\x1b``.

    That is what would move the cursor or change the order of the letters, bytes of a file name that are no UTF-8, and
    the end of a line.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))
