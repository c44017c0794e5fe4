"""Many images through a network: read ahead, batched by size, worked on by several threads, returned in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch

from owseg._progress import logger
from owseg.errors import OwsegError
from owseg.models.threads import AHEAD, pool
from owseg.types import Forward, Output, Sample

T = TypeVar("T")

LARGE = 16_000_000
"""Of images with more pixels than this one is worked on at a time: its maps at full size take gigabytes."""

FAILURES = (OwsegError, RuntimeError, MemoryError)
"""What may go wrong with one image, and concerns no other; torch raises a RuntimeError where memory runs out."""


class Samples(Protocol):
    """What is read by number, such as a ``DataSet``."""

    def __len__(self) -> int:
        """Return how many samples there are."""
        ...

    def __getitem__(self, i: int) -> Sample:
        """Read sample ``i``."""
        ...


@runtime_checkable
class Batched(Protocol):
    """A ``Forward`` that may be called by several threads, with several images of one size: ``Engine`` is one."""

    @property
    def batch_size(self) -> int:
        """The number of images that are run at once."""
        ...

    @property
    def threads(self) -> int:
        """The number of batches that are worked on at the same time."""
        ...

    def run(self, images: Sequence[np.ndarray]) -> list[Output]:
        """Return the output for each of some images of one size."""
        ...


def threads_of(forward: Forward) -> int:
    """Return how many threads may call ``forward`` at the same time: that of a ``Batched`` one, else 1."""
    return forward.threads if isinstance(forward, Batched) else 1


def over_images(
    forward: Forward,
    samples: Samples,
    function: Callable[[Sample, Output], T],
    failed: Callable[[int, Exception], T] | None = None,
) -> Iterator[T]:
    """Yield ``function(sample, output)`` for each of ``samples``, in order.

    A ``Batched`` forward is called by ``threads`` threads, each of which has its share of torch's threads, with batches
    of ``batch_size`` images of one size; the batches depend on the order of the samples alone. ``function`` is called
    by the same threads. Reading is ahead of that by as many images again, so that at most ``2 AHEAD threads
    batch_size`` samples are in memory. Any other forward is called for one image after another, in this thread.

    Where memory runs out, batches are halved from there on. What goes wrong with a sample (``FAILURES``) is raised when
    it is its turn, or yielded as ``failed(number, error)``.
    """
    runner = forward if isinstance(forward, Batched) else _OneByOne(forward)
    work = _Work(runner, function, runner.batch_size)
    threads = max(1, min(runner.threads, -(-len(samples) // runner.batch_size)))
    alone = threads == work.batch == 1
    results = _serial(work, samples) if alone else _threaded(work, samples, threads, failed is None)
    for i, result in enumerate(results):
        if result.error is None:
            yield result.value  # type: ignore[misc]
        elif failed is None or not isinstance(result.error, FAILURES):
            raise result.error
        else:
            yield failed(i, result.error)


@dataclass(frozen=True)
class _Result(Generic[T]):
    """What the function returned for a sample, or what went wrong."""

    value: T | None = None
    error: Exception | None = None


@dataclass
class _Work(Generic[T]):
    """A function of samples and their outputs, for one batch at a time; ``batch`` is lowered where memory runs out."""

    runner: Batched
    function: Callable[[Sample, Output], T]
    batch: int
    large: Lock = field(default_factory=Lock)

    def __call__(self, samples: Sequence[Sample]) -> list[_Result[T]]:
        """Return the result for each of some samples whose images are of one size."""
        with self.large if samples[0].image[0].size > LARGE else nullcontext():
            try:
                outputs = self.runner.run([sample.image for sample in samples])
            except Exception as error:  # it is raised where the results are wanted
                if len(samples) == 1:
                    return [_Result(error=error)]
                if not isinstance(error, FAILURES):
                    return [_Result(error=error) for _ in samples]
                half = len(samples) // 2
                if isinstance(error, torch.OutOfMemoryError):
                    self._halve(half)
            else:
                return [self._of(*pair) for pair in zip(samples, outputs, strict=True)]
        return self(samples[:half]) + self(samples[half:])

    def _of(self, sample: Sample, output: Output) -> _Result[T]:
        try:
            return _Result(self.function(sample, output))
        except Exception as error:
            return _Result(error=error)

    def _halve(self, batch: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if batch < self.batch:
            logger.warning("Out of GPU memory: from here on %d image(s) at once in place of %d.", batch, self.batch)
            self.batch = batch


@dataclass(frozen=True)
class _OneByOne:
    """A forward that knows no batches, as a ``Batched`` of one image in one thread."""

    forward: Forward
    batch_size: int = 1
    threads: int = 1

    def run(self, images: Sequence[np.ndarray]) -> list[Output]:
        return [self.forward(image) for image in images]


def _serial(work: _Work[T], samples: Samples) -> Iterator[_Result[T]]:
    for i in range(len(samples)):
        try:
            sample = samples[i]
        except Exception as error:
            yield _Result(error=error)
        else:
            yield work([sample])[0]


def _threaded(work: _Work[T], samples: Samples, threads: int, stop: bool) -> Iterator[_Result[T]]:
    """Yield the result for each sample, in order: one pool reads, another runs batches."""
    with pool(threads, "owseg-run") as running, pool(threads, "owseg-read", 1) as reading:
        yield from _in_order(work, samples, reading, running, AHEAD * threads * work.batch, stop)


def _in_order(
    work: _Work[T], samples: Samples, reading: ThreadPoolExecutor, running: ThreadPoolExecutor, ahead: int, stop: bool
) -> Iterator[_Result[T]]:
    count, read = len(samples), 0
    reads: deque[tuple[int, Future[Sample]]] = deque()
    waiting: dict[tuple[int, ...], list[tuple[int, Sample]]] = {}  # by the size of the image
    results: dict[int, Callable[[], _Result[T]]] = {}

    def submit(size: tuple[int, ...]) -> None:
        numbers, group = zip(*waiting.pop(size), strict=True)
        future = running.submit(work, group)
        for at, number in enumerate(numbers):
            results[number] = lambda at=at: future.result()[at]  # type: ignore[misc]

    for wanted in range(count):
        # What is read next depends on what is wanted next, never on which thread was faster: so do the batches.
        while read < count and read < wanted + 2 * ahead:
            reads.append((read, reading.submit(samples.__getitem__, read)))
            read += 1
        while reads and reads[0][0] < wanted + ahead:
            number, future = reads.popleft()
            try:
                sample = future.result()
            except Exception as error:
                results[number] = lambda error=error: _Result(error=error)  # type: ignore[misc]
                if stop:  # nothing after it is wanted
                    reads.clear()
                    read = count
                continue
            size = sample.image.shape
            waiting.setdefault(size, []).append((number, sample))
            if len(waiting[size]) >= work.batch:
                submit(size)
        if wanted not in results:  # no more images of its size in sight
            submit(next(size for size, group in waiting.items() if group[0][0] == wanted))
        yield results.pop(wanted)()
