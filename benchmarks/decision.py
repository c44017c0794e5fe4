"""What deciding what is unknown costs beside the network's own pass over an image.

    python -m benchmarks.decision [--threads 1] [--kb street] [--size 360x480]

The forward pass of a shipped knowledge base against each step after it, in turn, in one run: the score ``joint``, the
same over segments, on the road, and the regions of a prediction. The image is a synthetic scene enlarged to ``--size``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from owseg.data.datasets import open_dataset
from owseg.knowledge.load import load


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kb", default="street")
    parser.add_argument("--size", default="360x480", help="height x width of the image")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    height, width = (int(n) for n in args.size.split("x"))
    kb = load(args.kb)
    scene = Image.fromarray(open_dataset("synthetic", "test")[0].image.transpose(1, 2, 0))
    image = np.ascontiguousarray(np.asarray(scene.resize((width, height))).transpose(2, 0, 1))
    output = kb.forward(image)
    steps: dict[str, Callable[[], object]] = {"forward pass": lambda: kb.forward(image)}
    for name in ("joint", "joint@segments", "joint@segments@road"):
        if name in kb.scorers:
            steps[name] = lambda name=name: kb.assess(output, (height, width), (name,))  # type: ignore[misc]
    # Regions are found when they are first asked for, so each prediction is asked once.
    predictions = iter([kb.predict(image, lambda _: output) for _ in range(args.repeats + 1)])
    steps["regions"] = lambda: next(predictions).regions
    print(f"{args.kb}, {args.size}, {args.threads} threads, medians of {args.repeats}, in turn")
    first: float | None = None
    for name, seconds in in_turn(args.repeats, steps).items():
        first = first or seconds
        print(f"{name:20} {1000 * seconds:7.1f} ms  {seconds / first:.2f}x", flush=True)


def in_turn(times: int, steps: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median seconds of each step, all called one after the other so many times."""
    for call in steps.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(times):
        for name, call in steps.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(spent) for name, spent in seconds.items()}


if __name__ == "__main__":
    main()
