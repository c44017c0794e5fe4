"""Threads in which torch computes, each with its share of torch's own threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

S = TypeVar("S")
T = TypeVar("T")

AHEAD = 2
"""So many items for each thread have been begun, and not been asked for, at most."""


@contextmanager
def pool(threads: int, name: str, each: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of so many threads, in which torch computes with ``each`` threads; by default they share torch's."""
    share = each or max(1, torch.get_num_threads() // threads)
    executor = ThreadPoolExecutor(threads, name, torch.set_num_threads, (share,))
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
        # What a pool sets is what threads that begin later get; they shall have what this one has.
        torch.set_num_threads(torch.get_num_threads())


def in_threads(function: Callable[[S], T], items: Iterable[S], threads: int, ahead: int = AHEAD) -> Iterator[T]:
    """Yield ``function(item)`` for each of ``items``, in order, called by so many threads; what it raises is raised.

    This thread reads ``items``, at most ``ahead threads`` ahead of what is asked for: an item is read when there is a
    place for it, never earlier. With one thread it does all.
    """
    if threads == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[T]] = deque()
    with pool(threads, "owseg-run") as running:
        for item in items:
            waiting.append(running.submit(function, item))
            if len(waiting) == ahead * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
