"""What deciding what is unknown costs beside the network's own pass over an image.

    python -m benchmarks.decision [--threads 1] [--kb street] [--size 360x480]

The forward pass of a shipped knowledge base against each step after it, in turn, in one run: the score ``joint``, the
same over segments, on the road, and the regions of a prediction. The image is a synthetic scene enlarged to ``--size``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.residual import in_turn
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
    steps: dict[str, Callable[[], Any]] = {"forward pass": lambda: kb.forward(image)}
    for name in ("joint", "joint@segments", "joint@segments@road"):
        if name in kb.scorers:
            steps[name] = lambda name=name: kb.assess(output, (height, width), (name,))  # type: ignore[misc]
    # Regions are found when they are first asked for, so each prediction is asked once.
    predictions = iter([kb.predict(image, lambda _: output) for _ in range(args.repeats + 1)])
    steps["regions"] = lambda: next(predictions).regions
    print(f"{args.kb}, {args.size}, {args.threads} threads, medians of {args.repeats}, in turn")
    first: float | None = None
    for name, seconds in zip(steps, in_turn(args.repeats, *map(no_result, steps.values())), strict=True):
        first = first or seconds
        print(f"{name:20} {1000 * seconds:7.1f} ms  {seconds / first:.2f}x", flush=True)


def no_result(call: Callable[[], Any]) -> Callable[[], None]:
    """Return ``call`` without its result, which ``in_turn`` would read as a number of units."""

    def run() -> None:
        call()

    return run


if __name__ == "__main__":
    main()
