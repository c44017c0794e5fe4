"""A sequence whose items are made when they are asked for, so that it may be far larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import lru_cache
from typing import Generic, TypeVar, overload

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Lazy(Sequence[T], Generic[K, T]):
    """``make(key)`` for each of ``keys``, made anew at each use, but for the last ``keep`` that were made."""

    def __init__(self, keys: Sequence[K], make: Callable[[K], T], keep: int = 0) -> None:
        self.keys, self.make = keys, lru_cache(keep)(make) if keep else make

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, i: int) -> T: ...
    @overload
    def __getitem__(self, i: slice) -> Lazy[K, T]: ...

    def __getitem__(self, i: int | slice) -> T | Lazy[K, T]:
        """Return item ``i``, or those of a slice."""
        return Lazy(self.keys[i], self.make) if isinstance(i, slice) else self.make(self.keys[i])

    def __iter__(self) -> Iterator[T]:
        # Not that of Sequence, for which an IndexError that ``make`` raises would be the end.
        return map(self.make, self.keys)

    def __repr__(self) -> str:
        return f"Lazy of {len(self)}"


def joined(first: Sequence[T], second: Sequence[T]) -> Sequence[T]:
    """Return the items of ``first`` and then those of ``second``, each asked for when it is."""
    return Lazy(range(len(first) + len(second)), lambda i: first[i] if i < len(first) else second[i - len(first)])
