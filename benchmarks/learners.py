"""What learning a class costs: NPM, PLM and the probe, from five shots.

    python -m benchmarks.learners [--threads 2] [--kb street8] [--data camvid:DIR]

Seconds from the images of the shots to the class, with all forward passes over them, their mirror images and other
sizes; then the time of one prediction with the class, against one without. Without ``--data`` the shots are five
synthetic scenes at 480x360.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch

from owseg.data.datasets import open_dataset
from owseg.data.shots import sample_shots
from owseg.data.synthetic.canvas import CLASSES
from owseg.data.synthetic.scene import render
from owseg.knowledge.load import load
from owseg.learners.base import Learner
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from owseg.learners.plm import PLM
from owseg.learners.probe import Probe
from owseg.types import Shot

T = TypeVar("T")
LEARNERS: dict[str, Learner] = {"NPM": NPM(), "probe": Probe(), "PLM": PLM()}


def scenes(size: tuple[int, int]) -> list[Shot]:
    label, made = CLASSES.index("animal"), []
    for i in range(5):
        image, ids = render(400_000 + i, size, ("animal",), count=(1, 1), area=(0.03, 0.06))
        made.append(Shot(np.ascontiguousarray(image.transpose(2, 0, 1)), ids == label, str(i)))
    return made


def timed(call: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kb", default="street8")
    parser.add_argument("--data", help="camvid:DIR, to learn car from real shots")
    parser.add_argument("--size", default="360x480", help="height x width of the synthetic scenes")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--learners", nargs="*", choices=LEARNERS, default=list(LEARNERS))
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    kb, name = load(args.kb), "car" if args.data else "animal"
    height, width = map(int, args.size.split("x"))
    shots = sample_shots(open_dataset(args.data, "train"), name, 5) if args.data else scenes((height, width))
    image, size = shots[0].image, shots[0].size
    passes = [timed(lambda v=v: kb.forward(v.image))[0] for s in shots for v in (s, s.mirrored())]
    output = kb.forward(image)

    def seconds_of(call: Callable[[], object]) -> float:
        return statistics.median(timed(call)[0] for _ in range(args.repeats))

    whole = seconds_of(lambda: kb.assess(kb.forward(image), size))
    print(f"learning {name} from 5 shots of {size[1]}x{size[0]}, {args.threads} threads")
    print(f"forward pass over a shot: {statistics.median(passes):.2f} s; labels and score of an image: {whole:.2f} s")
    for title in args.learners:
        learner = LEARNERS[title]
        seconds, updated = timed(lambda x=learner: learn(kb, name, shots, method=x))
        after, before = (seconds_of(lambda w=w: w.assess(output, size)) for w in (updated, kb))
        share = (whole + after - before) / whole
        print(f"{title:6} learns in {seconds:6.2f} s; an image then takes {share:.2f}x as long")


if __name__ == "__main__":
    main()
