"""One pass over a folder of maps: images are read one at a time, in one or several processes, into mergeable states."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from functools import partial, reduce
from multiprocessing import get_context
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

from owseg._progress import track
from owseg.evaluation.maps import MapFolder

SHARD = 8
"""Images that a process takes at a time."""

Points: TypeAlias = Mapping[str, np.ndarray]
"""Pixels of one image to keep the scores of: flat indexes (n,) by the name of the class."""


class State(Protocol):
    """What a pass accumulates for one score."""

    def update(self, score: np.ndarray, labels: np.ndarray, target: np.ndarray, points: Points) -> None:
        """Add one image: three maps (H, W) of it, and pixels to keep."""
        ...

    def __iadd__(self: S, other: S) -> S:
        """Add the images of ``other`` after its own; in place, as what it keeps of each image grows with them."""
        ...


S = TypeVar("S", bound=State)
T = TypeVar("T")


def one_pass(
    folder: MapFolder,
    empty: Mapping[str, S],
    title: str,
    workers: int = 1,
    points: Callable[[str], Points] | None = None,
) -> dict[str, S]:
    """Return the states that ``empty`` ones, by the name of the score, have after all images of the folder, in order.

    ``points`` returns the pixels of an image to keep; it is called in this process, as data sets cannot be pickled.
    Raises ``OwsegError`` for maps that are missing or damaged.
    """
    images = folder.manifest.images
    shards = [images[i : i + SHARD] for i in range(0, len(images), SHARD)]
    # A process is sent the names of its images alone, not with each few of them those of all.
    given = ((folder.only(shard), [points(image) if points else {} for image in shard]) for shard in shards)
    with _processes(workers) as over:
        # In the order of the shards, whichever process is done first: sums of floats depend on it.
        return reduce(_merged, track(over(partial(_of_shard, empty), given), title, len(shards)))


@contextmanager
def _processes(workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """Yield a ``map`` over this process or over several."""
    if workers <= 1:
        yield map
    else:
        # Spawned, not forked: torch and its threads may be loaded here, and do not survive a fork.
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            yield partial(_mapped, pool, 2 * workers)


def _mapped(pool: Executor, ahead: int, function: Callable[[Any], T], items: Iterable[Any]) -> Iterator[T]:
    """Yield ``function`` of each item in order, with at most ``ahead`` handed out: states that wait fill the memory."""
    waiting: deque[Future[T]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    yield from (future.result() for future in waiting)


def _of_shard(empty: Mapping[str, S], shard: tuple[MapFolder, Sequence[Points]]) -> dict[str, S]:
    states, folder = deepcopy(dict(empty)), shard[0]  # ``empty`` is shared by all shards of this process
    for image, points in zip(folder.manifest.images, shard[1], strict=True):
        maps = folder.read(image)
        for name, score in maps.scores.items():
            states[name].update(score, maps.labels, maps.target, points)
    return states


def _merged(one: dict[str, S], other: dict[str, S]) -> dict[str, S]:
    for name, state in other.items():
        one[name] += state  # type: ignore[operator]  # mypy does not look for __iadd__ in a protocol
    return one
