"""Many images on many machines: the workers of a Ray cluster take them a few at a time, the results come in order."""

from __future__ import annotations

import logging
import os
import pickle
import socket
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch

from owseg.errors import OwsegError
from owseg.models.cores import available_cores
from owseg.models.devices import AUTO, choose_device

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
P = TypeVar("P", bound=Sized)
P_contra = TypeVar("P_contra", contravariant=True)

LOCAL = "local"
"""The address of a cluster that is this machine, started for one run and stopped after it."""

FEWEST, MOST = 8, 64
"""A worker takes so many images at a time: fewer are lost with it, more cost less to hand out."""

SHARDS = 10_000
"""Where there would be more shards than this, each has more images, so that handing them out stays cheap."""

WAIT = 10.0
"""Seconds in which a cluster has to answer."""

ATTEMPTS = 3
"""So many workers may die over the same images; then these are to blame, and the run ends."""


class Work(Protocol[P_contra, T_co]):
    """What a worker does with a part of the images. It is pickled once for all, so it should not hold the images."""

    def to(self, device: torch.device) -> Work[P_contra, T_co]:
        """Return the same work with its network on ``device``."""
        ...

    def __call__(self, part: P_contra, /) -> T_co:
        """Return what is wanted of the images of a part; it may be called twice, where a worker died meanwhile."""
        ...


def shards_of(count: int) -> list[range]:
    """Return the numbers of ``count`` images, a few at a time: what one worker does before it takes others."""
    size = min(max(FEWEST, -(-count // SHARDS)), MOST)
    return [range(i, min(i + size, count)) for i in range(0, count, size)]


@dataclass(frozen=True)
class Cluster:
    """The workers that share the images of one run.

    ``address`` is that of the cluster: "auto" for the one that this machine belongs to, HOST:PORT, ray://HOST:PORT, or
    ``LOCAL``. There are ``least`` workers at least, and up to ``most`` while there is work for them, by default as many
    as the cluster has room for; each has ``cores`` processor cores and, if ``device`` is "cuda", or "auto" in a cluster
    with GPUs, one GPU. Every machine must have this version of owseg, and reach images and results by the same paths.
    A program that is connected to Ray already stays so.
    """

    address: str = LOCAL
    least: int = 1
    most: int | None = None
    cores: int = 1
    device: str = AUTO

    def __post_init__(self) -> None:
        if not 1 <= self.least <= (self.least if self.most is None else self.most):
            raise OwsegError(f"there are 1 or more workers, the fewest first, not {self.least} to {self.most}.")
        if self.device not in (AUTO, "cpu", "cuda"):
            raise OwsegError(f"a worker runs on cpu or cuda, or auto, not {self.device!r}: each gets a GPU of its own.")

    def over(self, work: Work[P, T], parts: Sequence[P]) -> Iterator[T]:
        """Yield ``work(part)`` for each of ``parts``, a few images each (see ``shards_of``), in order.

        What ``work`` raises is raised. Where a worker dies, another takes its images. Raises ``OwsegError`` without
        Ray, where no cluster answers, where it has not what a worker needs, and where workers die again and again.
        """
        if not parts:
            return
        with self._connected() as ray:
            gpus = float(self._with_gpu(ray))
            self._require(ray, gpus)
            yield from self._results(ray, work, parts, gpus)

    def _results(self, ray: Any, work: Work[P, T], parts: Sequence[P], gpus: float) -> Iterator[T]:
        from ray import cloudpickle, data

        dumps: Any = cloudpickle.dumps
        context = data.DataContext.get_current()
        context.enable_progress_bars = False  # there is a bar of images already
        context.execution_options.preserve_order = True
        # A closure may be a part of it, such as how a data set is read; a worker may have no other device.
        pickled = ray.put(dumps(work.to(torch.device("cpu"))))
        # A block for each few images: what a worker has when it dies is all that is done again.
        ends = accumulate(map(len, parts))
        items = [
            {"part": dumps(part), "first": end - len(part), "end": end} for part, end in zip(parts, ends, strict=True)
        ]
        rows = data.from_items(items, override_num_blocks=len(items))
        results = rows.map_batches(
            _Worker, fn_constructor_args=(pickled, "cuda" if gpus else "cpu", _attempts(ray)), batch_size=1,
            compute=data.ActorPoolStrategy(min_size=self.least, max_size=self._most(ray, gpus)),
            num_cpus=self.cores, num_gpus=gpus,
        )  # fmt: skip
        try:
            for row in results.iter_rows():
                result: _Result[T] = pickle.loads(row["result"])  # which a worker of ours pickled
                if result.error is not None:
                    raise result.error
                yield result.value  # type: ignore[misc]
        except ray.exceptions.RayError as error:
            raise OwsegError(f"the workers of the cluster failed ({_first_line(error)}).") from error

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """Yield ray, connected; what was started or connected for this is left at the end."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anyone
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # errors are raised, too
        try:
            import ray
            import ray.data
        except ImportError:
            raise OwsegError("a cluster needs Ray; install it with `pip install 'owseg[ray]'`.") from None
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        if ray.is_initialized():  # by a program that uses it for more than this
            yield ray
            return
        # Of this machine there may be promised more than it has: fewer cores than workers only make them slower.
        promised = max((self.most or 1) * self.cores, available_cores())
        here: dict[str, Any] = {"num_cpus": promised, "include_dashboard": False}
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        try:
            _require_answer(self.address)
            with _silent():
                ray.init(self.address, **(here if self.address == LOCAL else {}), **quiet)
        except (OSError, ValueError, RuntimeError) as error:
            ways = "start it with `ray start --head`, or give local to use this machine alone"
            raise OwsegError(f"no Ray cluster answers at {self.address}; {ways} ({_first_line(error)}).") from None
        try:
            yield ray
        finally:
            ray.shutdown()

    def _with_gpu(self, ray: Any) -> bool:
        if self.device == AUTO:
            return bool(ray.cluster_resources().get("GPU", 0))
        return self.device == "cuda"

    def _most(self, ray: Any, gpus: float) -> int:
        has = ray.cluster_resources()
        room = has.get("GPU", 0) // gpus if gpus else has.get("CPU", 0) // self.cores
        return max(self.least, int(room)) if self.most is None else self.most

    def _require(self, ray: Any, gpus: float) -> None:
        """Raise ``OwsegError`` where no machine of the cluster has what one worker needs: it would wait for ever."""
        has = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(one.get("CPU", 0) >= self.cores and one.get("GPU", 0) >= gpus for one in has):
            wants = f"{self.cores} cores{' and a GPU' if gpus else ''}"
            most = max((one.get("CPU", 0) for one in has), default=0)
            raise OwsegError(f"no machine of the cluster has {wants} for a worker; the largest has {most:.0f} cores.")


@dataclass(frozen=True)
class _Result(Generic[T]):
    """What the work returned, or what it raised: an exception that leaves a worker would end the others' work."""

    value: T | None = None
    error: Exception | None = None


class _Worker:
    """A process of the cluster, with the work on its device."""

    def __init__(self, pickled: Any, device: str, attempts: Any) -> None:
        import ray

        self._get, self._attempts = ray.get, attempts
        work: Work[Any, Any] = pickle.loads(ray.get(pickled))
        self._work = work.to(choose_device(device))

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        first, end = int(rows["first"][0]), int(rows["end"][0])
        try:
            # Ray starts a worker that died again, for ever, and gives it the same images.
            if self._get(self._attempts.begin.remote(first)) > ATTEMPTS:
                which = f"images {first + 1} to {end} of the list"
                raise OwsegError(f"{ATTEMPTS} workers died over {which}; give workers more memory, or leave them out.")
            result = _Result(self._work(pickle.loads(rows["part"][0])))
        except (OwsegError, OSError) as error:
            result = _Result(error=error)
        except Exception as error:  # it may hold what cannot be pickled
            result = _Result(error=RuntimeError(f"{type(error).__name__}: {error}"))
        return {"result": [pickle.dumps(result)]}


def _attempts(ray: Any) -> Any:
    """Return what counts how often each shard was begun: it outlives the workers."""

    class Attempts:  # defined here, it is pickled by value: its process need not import torch
        def __init__(self) -> None:
            self.counts: dict[int, int] = {}

        def begin(self, shard: int) -> int:
            self.counts[shard] = self.counts.get(shard, 0) + 1
            return self.counts[shard]

    return ray.remote(num_cpus=0)(Attempts).remote()


@contextmanager
def _silent() -> Iterator[None]:
    """Discard what this process writes to standard error: Ray's core writes there without ``sys.stderr``."""
    with Path(os.devnull).open("wb") as null:
        before = os.dup(2)
        os.dup2(null.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)


def _require_answer(address: str) -> None:
    """Raise ``OSError`` where nobody listens at HOST:PORT: Ray itself tries for many minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), WAIT).close()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
