"""What learning a class costs: NPM, PLM and the probe, from five shots.

    python -m benchmarks.learners [--threads 2] [--kb street8] [--data camvid:DIR]

Seconds beyond the forward passes over the shots (and, for PLM and the probe, over their mirror images and other
sizes), which are done beforehand; then the time of one prediction with the class, against one without. Without
``--data`` the shots are five synthetic scenes at 480x360.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
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
from owseg.models.engine import cached
from owseg.types import Shot

T = TypeVar("T")
LEARNERS: dict[str, Learner] = {"NPM": NPM(), "probe": Probe(), "PLM": PLM()}


def scenes() -> list[Shot]:
    label, made = CLASSES.index("animal"), []
    for i in range(5):
        image, ids = render(400_000 + i, (360, 480), ("animal",), count=(1, 1), area=(0.03, 0.06))
        made.append(Shot(np.ascontiguousarray(image.transpose(2, 0, 1)), ids == label, str(i)))
    return made


def timed(call: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kb", default="street8")
    parser.add_argument("--data", help="camvid:DIR, to learn car from real shots")
    args, _ = parser.parse_known_args()
    torch.set_num_threads(args.threads)
    kb, name = load(args.kb), "car" if args.data else "animal"
    shots = sample_shots(open_dataset(args.data, "train"), name, 5) if args.data else scenes()
    forward = cached(kb.forward)
    forward = [timed(lambda v=v: forward(v.image))[0] for s in shots for v in (s, s.mirrored())]
    size = shots[0].size
    for view in (v for s in shots for f in Probe().scales for v in (s.scaled(f), s.scaled(f).mirrored())):
        forward(view.image)
    output = forward(shots[0].image)
    plain = statistics.median(timed(lambda: kb.closed(kb.forward(shots[0].image), size))[0] for _ in range(9))
    print(f"learning {name} from 5 shots of {size[1]}x{size[0]}, {args.threads} threads")
    print(f"forward pass over a shot: {statistics.median(forward):.2f} s; closed map of an image: {plain:.2f} s")
    for title, learner in LEARNERS.items():
        seconds, updated = timed(lambda x=learner: learn(kb, name, shots, method=x, forward=forward))
        after = statistics.median(timed(lambda w=updated: w.closed(output, size))[0] for _ in range(9))
        before = statistics.median(timed(lambda: kb.closed(output, size))[0] for _ in range(9))
        share = (plain + after - before) / plain
        print(f"{title:6} learns in {seconds:6.2f} s; an image then takes {share:.2f}x as long")


if __name__ == "__main__":
    main()
