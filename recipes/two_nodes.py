"""Two machines of one core each, simulated on this one, predict a folder of images; a worker is killed meanwhile.

    python -m recipes.two_nodes --images DIR --out DIR [--kb KB]      # docs/scale.md

Prints whether the files are, byte for byte, those of a run without Ray, and whether each image is there once.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from pathlib import Path
from threading import Thread

from owseg.data.search import search_images
from owseg.inference.done import RESULTS
from owseg.inference.predict import predict_files
from owseg.knowledge.load import load
from owseg.models.cluster import Cluster

NODES = 2


def kill_one(results: Path, killed: list[int]) -> None:
    """Kill the first worker that is found as soon as there is a result."""
    while not results.exists() or not results.stat().st_size:
        time.sleep(0.2)
    for process in Path("/proc").glob("[0-9]*"):
        if (process / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
            os.kill(int(process.name), signal.SIGKILL)
            killed.append(int(process.name))
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kb", default="street")
    args = parser.parse_args()
    found = search_images([str(args.images)], True)
    kb = load(args.kb)

    started = time.perf_counter()
    predict_files(kb, found.paths, args.out / "alone", names=found.names)
    alone = time.perf_counter() - started

    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(NODES):
        nodes.add_node(num_cpus=1)
    killed: list[int] = []
    Thread(target=kill_one, args=(args.out / "shared" / RESULTS, killed), daemon=True).start()
    started = time.perf_counter()
    cluster = Cluster(nodes.address, NODES, NODES)
    predict_files(kb, found.paths, args.out / "shared", names=found.names, cluster=cluster)
    shared = time.perf_counter() - started
    nodes.shutdown()

    files = {path.relative_to(args.out / "alone") for path in (args.out / "alone").rglob("*") if path.is_file()}
    there = {path.relative_to(args.out / "shared") for path in (args.out / "shared").rglob("*") if path.is_file()}
    same = sum((args.out / "alone" / f).read_bytes() == (args.out / "shared" / f).read_bytes() for f in files & there)
    names = [json.loads(line)["name"] for line in (args.out / "shared" / RESULTS).read_text().splitlines()]
    print(json.dumps({
        "images": len(found.paths), "workers killed": len(killed), "files": len(files), "the same": same,
        "others": len(files ^ there), "lines": len(names), "twice": len(names) - len({*names}),
        "seconds in this process": round(alone, 1), "seconds on two nodes, with their start": round(shared, 1),
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
