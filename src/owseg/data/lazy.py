"""A sequence whose items are made when they are asked for, so that it may be far larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TypeVar, overload

T = TypeVar("T")


class Lazy(Sequence[T]):
    """``make(i)`` for each of ``numbers``, made anew at each use, but for the last ``keep`` that were made."""

    def __init__(self, numbers: Sequence[int], make: Callable[[int], T], keep: int = 0) -> None:
        self.numbers, self.make = numbers, lru_cache(keep)(make) if keep else make

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, i: int) -> T: ...
    @overload
    def __getitem__(self, i: slice) -> Lazy[T]: ...

    def __getitem__(self, i: int | slice) -> T | Lazy[T]:
        """Return item ``i``, or those of a slice."""
        return Lazy(self.numbers[i], self.make) if isinstance(i, slice) else self.make(self.numbers[i])

    def __iter__(self) -> Iterator[T]:
        # Not that of Sequence, for which an IndexError that ``make`` raises would be the end.
        return map(self.make, self.numbers)

    def __repr__(self) -> str:
        return f"Lazy of {len(self)}"
