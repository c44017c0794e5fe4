"""How fast `owseg review` responds, with a synthetic queue of 20,000 regions, and how much faster than files would be.

    python -m benchmarks.review [--images 2000] [--regions 10]

First the queue alone: all regions accepted in one action, the images with the class listed in another process, one
decision, all regions renamed; beside them the same with a JSON and an npy file an image and a log of lines, as queues
were stored before. Then the pages, half of the regions being decided, a tenth of those with a corrected mask: the first
sixty tiles, cold (nothing read yet) and warm (after one more decision), a region opened, a decision with its tile, a
corrected mask with its tile, and a thumbnail over HTTP. The aim is below 100 ms each, and 500 for what is read cold.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from fastapi import FastAPI
from starlette.testclient import TestClient

from benchmarks.discover import image
from owseg.data.masks import Rle
from owseg.discovery.contents import Group, QueueInfo, image_id_of
from owseg.discovery.queue import Queue
from owseg.knowledge.regions import RegionProposals
from owseg.review.files import serve_files
from owseg.review.frame import PAGE
from owseg.review.state import ReviewState
from owseg.serve.guard import Guard

LIMIT, COLD = 100, 500


class Files:
    """The reference: a queue as files, a JSON and an npy an image, and a log of lines."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "decisions.jsonl"
        folder.mkdir()

    def add(self, name: str, found: RegionProposals) -> None:
        path, unknown = self.folder / image_id_of(name), Rle.of(found.unknown)
        regions = [{"mask": r.mask.to_json(), "core": r.core.to_json(), "area": r.area} for r in found.regions]
        value = {"size": unknown.size, "unknown": unknown.to_json(), "regions": regions}
        path.with_suffix(".json").write_text(json.dumps(value))
        np.save(path.with_suffix(".npy"), np.stack([r.embedding for r in found.regions]))

    def candidates(self) -> list[str]:
        """Read every image for the areas of its regions, as was done once in a process."""
        areas: dict[str, int] = {}
        for path in self.folder.glob("*.json"):
            value = json.loads(path.read_text())
            size = value["size"][0], value["size"][1]
            np.load(path.with_suffix(".npy"))
            Rle.from_json(value["unknown"], size)
            for region in value["regions"]:
                mask, core = Rle.from_json(region["mask"], size), Rle.from_json(region["core"], size)
                assert mask.area == region["area"] and core.within(mask)
                areas[path.stem] = areas.get(path.stem, 0) + core.area
        return sorted(areas, key=lambda image_id: (-areas[image_id], image_id))

    def decide(self, regions: Sequence[str]) -> None:
        """Log an action, once the embeddings of each image say that it has these regions."""
        for image_id in dict.fromkeys(region.partition("-")[0] for region in regions):
            np.load(self.folder / f"{image_id}.npy")
        with self.log.open("a") as file:
            file.write(json.dumps({"do": "accept", "regions": list(regions), "name": "thing"}) + "\n")
            file.flush()
            os.fsync(file.fileno())


def filled(place: Path, images: int, regions: int) -> tuple[Queue, Files, list[str]]:
    """The same regions in a queue and as files, and their ids in the order of the groups, of twenty each."""
    queue = Queue.begin(place / "q", QueueInfo("kb", "0" * 16, ("road",), str(place), 0.002, 0.5))
    files, found, ids = Files(place / "files"), image(regions, 0), list[str]()
    with queue.storage.kept_open():
        for i in range(images):
            one = queue.add(f"{i:05}.png", "0" * 64, found, [bytes(8000)] if i == 0 else [])
            files.add(f"{i:05}.png", found)
            ids += (f"{one}-{k}" for k in range(1, regions + 1))
    face = ids[0]
    np.random.default_rng(0).shuffle(ids)
    ids = [face, *(region for region in ids if region != face)]
    queue.write_groups([Group(n, tuple(ids[i : i + 20])) for n, i in enumerate(range(0, len(ids), 20), 1)])
    return queue, files, ids


def milliseconds(act: Callable[[], object], times: int) -> tuple[float, float]:
    """Return the shortest and the median time of ``act``; other work on the machine changes the shortest least."""
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        act()
        spent.append(1000 * (time.perf_counter() - start))
    return min(spent), statistics.median(spent)


def show(
    what: str, act: Callable[[], object], times: int, limit: float, old: Callable[[], object] | None = None
) -> None:
    """Print the times of ``act``, and how many times as long ``old`` takes."""
    best, middle = milliseconds(act, times)
    note = "" if best < limit else f"  (above {limit:.0f} ms)"
    if old is not None:
        before = milliseconds(old, times)[0]
        note = f"  files {before:8.1f} ms: {before / best:5.1f}x{note}"
    print(f"{what:34} shortest {best:7.1f} ms  median {middle:7.1f} ms{note}", flush=True)


def decide(queue: Queue, files: Files, ids: list[str]) -> None:
    """Print what actions on the queue cost, and the list of candidates; nothing is decided afterwards."""
    few, rest = iter(ids), ids[20:]

    def listed() -> None:
        assert len(ReviewState(Queue.open(queue.folder)).candidates("thing")) == len(queue.image_ids())

    show(f"{len(ids):,} regions accepted", lambda: queue.accept(ids, "thing"), 5, LIMIT, lambda: files.decide(ids))
    show("candidates listed, cold", listed, 3, COLD, files.candidates)
    show("one decision", lambda: queue.reject(next(few)), 20, LIMIT, lambda: files.decide(ids[:1]))
    show(f"{len(rest):,} regions renamed", lambda: queue.rename(rest, "thing"), 5, LIMIT, lambda: files.decide(rest))
    show("an action undone", queue.undo, 30, LIMIT)
    assert not queue.decisions()


def browse(queue: Queue, ids: list[str], counts: list[int]) -> None:
    """Print what the pages cost, half of the regions being decided."""
    mask = Rle.from_counts(counts, queue.entry(ids[0][:16]).size).mask()
    for i in range(0, len(ids) // 2, 10):
        queue.accept(ids[i], "thing", mask)
        queue.reject(ids[i + 1 : i + 10])
    state, web = ReviewState(Queue.open(queue.folder)), FastAPI()
    serve_files(web, state, None)  # type: ignore[arg-type]
    client = TestClient(Guard(web, "token"), base_url="http://127.0.0.1")
    client.get("/?token=token")
    groups = iter(reversed(queue.groups()))

    def tiles(state: ReviewState) -> None:
        for group in state.groups()[:PAGE]:
            state.tile(group)

    def rejected() -> None:
        group = next(groups)
        state.queue.reject(group.regions[0])
        state.tile(group)

    def corrected() -> None:
        group = next(groups)
        state.correct(group.regions[0], "thing", counts)
        state.tile(group)

    show(f"the first {PAGE} tiles, cold", lambda: tiles(ReviewState(Queue.open(queue.folder))), 3, COLD)
    show("a decision and its tile", rejected, 20, LIMIT)
    show("a corrected mask and its tile", corrected, 20, LIMIT)
    show(f"the first {PAGE} tiles, warm", lambda: tiles(state), 20, LIMIT)
    show("a region opened", lambda: state.view(ids[0]), 20, LIMIT)
    show("a thumbnail over HTTP", lambda: client.get(f"/thumbnails/{ids[0]}.jpg"), 20, LIMIT)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--regions", type=int, default=10, help="of each image, at most 30")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        queue, files, ids = filled(Path(place), options.images, options.regions)
        sizes = [sum(p.stat().st_size for p in folder.iterdir() if p.suffix in (".db", ".json", ".npy")) / 2**20
                 for folder in (queue.folder, files.folder)]  # fmt: skip
        print(f"{len(ids):,} regions: {sizes[0]:.0f} MB as a database, {sizes[1]:.0f} MB as files")
        decide(queue, files, ids)
        with queue.storage.kept_open():  # as `owseg review` does
            browse(queue, ids, list(image(options.regions, 0).regions[0].mask.counts))


if __name__ == "__main__":
    main()
