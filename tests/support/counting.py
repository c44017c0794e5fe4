"""What a function does, counted instead of timed: how it grows must not depend on the machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

asked = [0]
"""How often a ``Name``, a ``Number`` or a ``Names`` was compared or hashed."""


def _counting(kind: type) -> dict[str, Any]:
    def equal(self: Any, other: object) -> bool:
        asked[0] += 1
        return bool(kind.__eq__(self, other))

    def hashed(self: Any) -> int:
        asked[0] += 1
        return kind.__hash__(self)

    return {"__eq__": equal, "__ne__": lambda self, other: not equal(self, other), "__hash__": hashed}


Name = type("Name", (str,), _counting(str))
Number = type("Number", (int,), _counting(int))
Names = type("Names", (frozenset,), _counting(frozenset))


class Elements(np.ndarray):
    """An array that counts the elements that functions of numpy work on, and the most that one of them returned."""

    seen = 0
    largest = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [_plain(x) for x in inputs]
        Elements.seen += max(np.size(x) for x in plain)
        if "out" in options:
            options["out"] = tuple(map(_plain, options["out"]))
        found = getattr(ufunc, method)(*plain, **options)
        Elements.largest = max(Elements.largest, np.size(found))
        return found.view(Elements) if isinstance(found, np.ndarray) else found


def _plain(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, Elements) else value


def compared(work: Callable[[], object]) -> int:
    """Return how often names were compared or hashed."""
    asked[0] = 0
    work()
    return asked[0]


def elements(work: Callable[[], object]) -> int:
    """Return how many elements of ``Elements`` were worked on."""
    Elements.seen = Elements.largest = 0
    work()
    return Elements.seen


def calls(work: Callable[[], object]) -> int:
    """Return how many functions were called, of Python and of C."""
    count, before = 0, sys.getprofile()

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def grows_linearly(count: Callable[[int], int], n: int) -> bool:
    """Return whether what is counted at ``2 n`` is about twice that at ``n``, and not four times."""
    small, large = count(n), count(2 * n)
    assert small >= n // 2, "nothing was counted"
    return large <= 2.6 * small
