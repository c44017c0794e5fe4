"""What a queue costs: 1,000 synthetic images with 10,000 regions.

    python -m benchmarks.discover [--images 1000] [--regions 10]

Writing and grouping a queue, opening it, and one decision, with the growth of the process's peak memory; then the
clustering alone, in bounded memory, against scikit-learn's average linkage over all pairs at once, each in a process of
its own. Embeddings have the 536 channels of MobileNetV2's pyramid: 40 random directions with noise.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.metrics import peak_memory
from owseg.data.masks import Rle
from owseg.discovery.clustering import MAX_PAIRWISE, MERGE_COSINE, cluster, principal
from owseg.knowledge.regions import Region, RegionProposals

SIZE, CHANNELS, CLUSTERS = (360, 480), 536, 40


def embeddings(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(1).normal(size=(CLUSTERS, CHANNELS))
    return (directions[rng.integers(0, CLUSTERS, count)] + rng.normal(size=(count, CHANNELS))).astype(np.float32)


def image(count: int, seed: int) -> RegionProposals:
    """An image with ``count`` round regions, side by side."""
    unknown, regions = np.zeros(SIZE, bool), []
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for k, z in enumerate(embeddings(count, seed)):
        middle = 40 + 60 * (k // 6), 40 + 75 * (k % 6)
        mask = (y - middle[0]) ** 2 + (x - middle[1]) ** 2 < 25**2
        unknown |= mask
        box = middle[1] - 24, middle[0] - 24, 49, 49
        regions.append(Region("", Rle.of(mask), Rle.of(mask), box, int(mask.sum()), 4.0, 6.0, z, "road", 20.0))
    return RegionProposals(unknown, tuple(regions))


def peak() -> float:
    """Return the most memory that this process ever held, in MB."""
    return peak_memory() / 2**20


def held() -> float:
    """Return the memory that this process holds now, in MB; on anything but Linux, what it ever held."""
    status = Path("/proc/self/status")
    return int(status.read_text().split("VmRSS:")[1].split()[0]) / 2**10 if status.exists() else peak()


def whole(images: int, regions: int) -> None:
    from owseg.discovery.contents import QueueInfo
    from owseg.discovery.discover import group_queue
    from owseg.discovery.queue import Queue
    from owseg.knowledge.load import load

    kb, jpeg = load("street8"), bytes(8000)
    cluster(embeddings(10))  # what is imported on first use
    with tempfile.TemporaryDirectory() as place:
        info = QueueInfo("street8", kb.fingerprint(), kb.labels.names, place, 0.002, 0.5)
        queue = Queue.begin(Path(place) / "q", info)
        before, start, spent = held(), time.perf_counter(), 0.0
        for i in range(images):
            began = time.perf_counter()
            found = image(regions, i)
            spent += time.perf_counter() - began
            queue.add(f"{i // 50}/{2 * (i % 50)}.jpg", "0" * 64, found, [jpeg] * regions)
        seconds = time.perf_counter() - start - spent
        size = sum(p.stat().st_size for p in queue.folder.rglob("*") if p.is_file()) / 2**20
        print(f"writing {images} images with {images * regions} regions: {seconds:.1f} s, {size:.0f} MB on disk, "
              f"peak memory +{peak() - before:.0f} MB")  # fmt: skip
        start = time.perf_counter()
        _, count, _, groups = group_queue(queue, kb)
        print(f"reading all and grouping {count} regions into {groups}: {time.perf_counter() - start:.1f} s, "
              f"peak memory +{peak() - before:.0f} MB of {peak():.0f}")  # fmt: skip
        start = time.perf_counter()
        listed = Queue.open(queue.folder).groups()
        print(f"opening the queue and its groups: {1000 * (time.perf_counter() - start):.0f} ms")
        taken = []
        for region in [r for g in listed for r in g.regions][:200]:
            start = time.perf_counter()
            queue.accept(region, "thing")
            taken.append(time.perf_counter() - start)
        start = time.perf_counter()
        queue.decisions()
        print(f"a decision, synced to disk: {1000 * statistics.median(taken):.1f} ms; "
              f"200 of them read again: {1000 * (time.perf_counter() - start):.0f} ms")  # fmt: skip


def alone(count: int, way: str) -> None:
    from sklearn.cluster import AgglomerativeClustering

    low = principal(embeddings(count))
    cluster(low[:10])
    before, start = held(), time.perf_counter()
    if way == "room":
        ids = cluster(low)
    else:
        options = {"metric": "cosine", "linkage": "average", "distance_threshold": 1 - MERGE_COSINE}
        ids = AgglomerativeClustering(None, **options).fit_predict(low)
    print(json.dumps({"seconds": time.perf_counter() - start, "mb": peak() - before, "groups": int(ids.max()) + 1}))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--regions", type=int, default=10, help="of each image, at most 30")
    parser.add_argument("--alone", choices=("room", "all"), help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.alone:
        alone(args.images * args.regions, args.alone)
        return
    whole(args.images, args.regions)
    ways = {}
    for way in ("room", "all"):
        command = [sys.executable, "-m", "benchmarks.discover", "--alone", way]
        command += ["--images", str(args.images), "--regions", str(args.regions)]
        ways[way] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    ours, theirs = ways["room"], ways["all"]
    for title, way in ((f"grouping alone, {MAX_PAIRWISE} at once", ours), ("all pairs at once", theirs)):
        print(f"{title}: {way['groups']} groups in {way['seconds']:.1f} s and {way['mb']:.0f} MB")
    print(f"{ours['seconds'] / theirs['seconds']:.2f}x the time, {ours['mb'] / theirs['mb']:.2f}x the memory")


if __name__ == "__main__":
    main()
