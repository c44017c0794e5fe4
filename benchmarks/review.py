"""How fast the page of `owseg review` responds, with a synthetic queue of 10,000 regions.

    python -m benchmarks.review [--images 1000] [--regions 10]

Milliseconds for the first sixty tiles, cold (nothing read yet) and warm (after one more decision), for opening a
region, one decision with its tile, a corrected mask with its tile, and a thumbnail over HTTP; half of the regions are
decided beforehand, a tenth of those with a corrected mask. The aim is below 300 ms each.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from fastapi import FastAPI
from starlette.testclient import TestClient

from benchmarks.discover import image
from owseg.discovery.queue import Queue
from owseg.discovery.contents import Group, QueueInfo
from owseg.review.files import serve_files
from owseg.review.frame import PAGE
from owseg.review.state import ReviewState
from owseg.serve.guard import Guard

LIMIT = 300


def filled(place: Path, images: int, regions: int) -> Queue:
    queue = Queue.begin(place / "q", QueueInfo("kb", "0" * 16, ("road",), str(place), 0.002, 0.5))
    ids: list[str] = []
    found = image(regions, 0)
    for i in range(images):
        one = queue.add(f"{i:05}.png", "0" * 64, found, [bytes(8000)] * regions)
        ids += (f"{one}-{k}" for k in range(1, regions + 1))
    np.random.default_rng(0).shuffle(ids)
    size = 20
    queue.write_groups([Group(n, tuple(ids[i : i + size])) for n, i in enumerate(range(0, len(ids), size), 1)])
    for i in range(0, len(ids) // 2, 10):
        queue.accept(ids[i], "thing", found.regions[int(ids[i].rpartition("-")[2]) - 1].mask.mask())
        queue.reject(ids[i + 1 : i + 10])
    return queue


def milliseconds(act: Callable[[], object], times: int) -> tuple[float, float]:
    """Return the median and the longest time of ``act``."""
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        act()
        spent.append(1000 * (time.perf_counter() - start))
    return statistics.median(spent), max(spent)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--regions", type=int, default=10)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        queue = filled(Path(place), options.images, options.regions)
        state, web = ReviewState(queue), FastAPI()
        serve_files(web, state, None)  # type: ignore[arg-type]
        client = TestClient(Guard(web, "token"), base_url="http://127.0.0.1")
        client.get("/?token=token")
        groups = iter(reversed(queue.groups()))
        counts = list(image(options.regions, 0).regions[0].mask.counts)

        def tiles() -> None:
            for group in state.groups()[:PAGE]:
                state.tile(group)

        def decide() -> None:
            group = next(groups)
            queue.reject(group.regions[0])
            state.tile(group)

        def correct() -> None:
            group = next(groups)
            state.correct(group.regions[0], "thing", counts)
            state.tile(group)

        face = queue.groups()[0].regions[0]
        for what, act, times in (
            (f"the first {PAGE} tiles, cold", tiles, 1),
            ("a decision and its tile", decide, 20),
            ("a corrected mask and its tile", correct, 20),
            (f"the first {PAGE} tiles, warm", tiles, 20),
            ("a region opened", lambda: state.view(face), 20),
            ("a thumbnail over HTTP", lambda: client.get(f"/thumbnails/{face}.jpg"), 20),
        ):
            middle, longest = milliseconds(act, times)
            note = "" if middle < LIMIT else f"  (above {LIMIT} ms)"
            print(f"{what:32} median {middle:7.1f} ms  longest {longest:7.1f} ms{note}")


if __name__ == "__main__":
    main()
