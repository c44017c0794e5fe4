"""Items read ahead by worker processes: PyTorch's DataLoader, with items in order and errors as they were raised."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from owseg.errors import OwsegError

T = TypeVar("T")

AHEAD = 2
"""How many items each worker reads ahead, at the least."""


def can_fork() -> bool:
    """Return whether processes can be forked here: not on Windows."""
    return "fork" in multiprocessing.get_all_start_methods()


def read_ahead(read: Callable[[int], T], numbers: Sequence[int], workers: int = 0, ahead: int = 0) -> Iterator[T]:
    """Yield ``read(number)`` for each of ``numbers``, in their order, read ahead by so many worker processes.

    With 0 workers, and where processes cannot be forked, this process reads each item when it is asked for. Workers are
    forked when the first item is asked for: so ``read`` may be a closure, sees the memory of this process as it is
    then, changes none of it, and must not use a GPU. What it returns has to be tensors, or something that can be
    pickled. At most ``ahead`` items, and no fewer than ``AHEAD`` a worker, have been read and not been asked for.
    torch computes with one thread in ``read``, so that an item is the same to the bit for any number of workers.

    An error in ``read`` is raised here, where its item were. Raises ``OwsegError`` where the system ends a worker.
    """
    if not workers or not can_fork():
        yield from (_with_one_thread(read, number) for number in numbers)
        return
    items = _items(read, numbers, workers, max(AHEAD, ceil(ahead / workers)))
    try:
        while (item := _next_of(items)) is not None:
            if item.error is not None:
                raise item.error from item.where
            yield item.value
    finally:
        del items  # which ends the workers, also where a traceback keeps this frame


@dataclass(frozen=True, eq=False)
class _Item:
    """What a worker hands over: a value, or an ``error`` and its traceback."""

    value: Any
    error: Exception | None = None
    where: _InWorker | None = None


class _InWorker(Exception):
    """The traceback of an error in a worker, as text; it stands above that error where a traceback is printed."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _Items(Dataset[_Item]):
    """The data set of a ``DataLoader``, which would wrap an error into one of its own, of many lines."""

    def __init__(self, read: Callable[[int], Any]) -> None:
        self.read = read

    def __getitem__(self, number: int) -> _Item:
        try:
            return _Item(_in_shared_memory(self.read(number)))
        except Exception as error:
            return _Item(None, _picklable(error), _InWorker(traceback.format_exc()))


def _items(read: Callable[[int], Any], numbers: Sequence[int], workers: int, each: int) -> Iterator[_Item]:
    """Return the items, of which each worker reads so many ahead."""
    handler = signal.getsignal(signal.SIGCHLD)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than cores: as was asked for
        loader: DataLoader[_Item] = DataLoader(
            _Items(read), batch_size=None, sampler=numbers, num_workers=workers, collate_fn=_as_it_is,
            multiprocessing_context="fork", prefetch_factor=each,
            generator=torch.Generator(),  # else it draws from the one that the training draws from
        )  # fmt: skip
        items = iter(loader)
    # DataLoader's own would raise in the middle of whatever this process does when a worker ends, which ``_next_of``
    # finds all the same.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)
    return items


def _next_of(items: Iterator[_Item]) -> _Item | None:
    """Return the next item, or None after the last; an error where a worker was ended."""
    try:
        return next(items, None)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
    # Not raised, as the first error would hold what is in its traceback.
    why = "of memory, or of shared memory (/dev/shm), there was too little"
    return _Item(None, OwsegError(f"the system ended a worker that reads images, as if {why}; set fewer workers."))


def _with_one_thread(read: Callable[[int], T], number: int) -> T:
    """Return ``read(number)``, computed as in a worker."""
    threads = torch.get_num_threads()
    if threads == 1:
        return read(number)
    torch.set_num_threads(1)
    try:
        return read(number)
    finally:
        torch.set_num_threads(threads)


def _as_it_is(item: T) -> T:
    return item


def _in_shared_memory(value: T) -> T:
    """Return ``value``, the tensors of a tuple moved to shared memory; raise ``OwsegError`` where that is full.

    DataLoader moves them later, where an error is lost and the item never comes.
    """
    try:
        for part in value if isinstance(value, tuple) else ():
            if isinstance(part, torch.Tensor):
                part.share_memory_()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise OwsegError(f"shared memory is full ({reason}); enlarge /dev/shm, or set fewer workers.") from None
    return value


def _picklable(error: Exception) -> Exception:
    """Return ``error``, or its text in a RuntimeError where it would not survive the way to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
