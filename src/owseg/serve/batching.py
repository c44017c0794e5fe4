"""A queue that one worker takes from, several items at a time; it knows nothing of HTTP, nor of images."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from threading import Condition, Thread
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Full(Exception):
    """The queue has no place for these items; there may be one in ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the queue is full for about {seconds:.1f} s")
        self.seconds = seconds


class Closed(Exception):
    """The queue takes no more items."""


class Batcher(Generic[T, R]):
    """Calls ``run(items)``, in a thread of its own, for up to ``batch`` items that wait, and hands each its result.

    ``run`` yields a result, or an exception that concerns one item alone, for each of them in order; each is handed on
    as soon as it is there. What ``run`` raises concerns all items that have no result yet. An item waits for others for
    at most ``max_wait`` seconds, unless the worker is busy. At most ``capacity`` items wait.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], Iterable[R | Exception]],
        batch: Callable[[], int],
        max_wait: float,
        capacity: int,
    ) -> None:
        self._run, self._batch, self._max_wait, self.capacity = run, batch, max_wait, capacity
        self._waiting: deque[tuple[T, Future[R], float]] = deque()
        self._changed = Condition()
        self._closed = False
        self._pace = 1.0  # seconds for an item, lately
        self._worker = Thread(target=self._work, name="owseg-batches", daemon=True)
        self._worker.start()

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._waiting)

    @property
    def is_working(self) -> bool:
        """Whether items are taken, and there is somebody who takes them."""
        return self._worker.is_alive() and not self._closed

    def submit(self, items: Sequence[T]) -> list[Future[R]]:
        """Queue all of some items, and return what will hold their results; one that is cancelled is left out.

        Raises ``Full`` where there is no place for all of them, and ``Closed`` after ``close``.
        """
        with self._changed:
            if not self.is_working:
                raise Closed
            self.require_place(len(items))
            futures: list[Future[R]] = [Future() for _ in items]
            self._waiting.extend((item, future, monotonic()) for item, future in zip(items, futures, strict=True))
            self._changed.notify_all()
        return futures

    def require_place(self, count: int = 1) -> None:
        """Raise ``Full`` unless there is now a place for ``count`` items."""
        if len(self) + count > self.capacity:
            raise Full(self._pace * (len(self) + count - self.capacity))

    def close(self) -> None:
        """Take no more items, finish those that wait, and end the worker."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._worker.join()

    def _work(self) -> None:
        while taken := self._take():
            began = monotonic()
            self._finish([(item, future) for item, future, _ in taken if future.set_running_or_notify_cancel()])
            self._pace = 0.8 * self._pace + 0.2 * (monotonic() - began) / len(taken)

    def _take(self) -> list[tuple[T, Future[R], float]]:
        """Return the next items, none where the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._waiting:
                wait = self._waiting[0][2] + self._max_wait - monotonic()
                self._changed.wait_for(lambda: len(self) >= self._batch() or self._closed, max(0.0, wait))
            return [self._waiting.popleft() for _ in range(min(len(self), self._batch()))]

    def _finish(self, taken: Sequence[tuple[T, Future[R]]]) -> None:
        left = deque(future for _, future in taken)
        try:
            for result in self._run([item for item, _ in taken]) if taken else ():
                future = left.popleft()
                future.set_exception(result) if isinstance(result, Exception) else future.set_result(result)
            if left:
                raise RuntimeError(f"{len(left)} of {len(taken)} items have no result.")
        except Exception as error:
            for future in left:
                future.set_exception(error)
