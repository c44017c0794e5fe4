"""Learning classes without forgetting: DMLNet's Table 4 on CamVid, from five shots and from one.

    export OWSEG_DATA=DIR                                                       # DIR/camvid holds the data
    for s in 0 1 2; do                                                          # three networks, and their bounds:
        python -m recipes.camvid train --seed $s                                #   8 classes
        python -m recipes.camvid train --seed $s --also car                     #   9, what 8+1 could at best become
        python -m recipes.camvid train --seed $s --also car pedestrian bicyclist  # 11, what 8+3 could at best become
        python -m recipes.stream measure --seed $s --split test
    done
    python -m recipes.stream table --split test

    python -m recipes.stream measure --unknown sign pole --seed 0               # any other classes
    python -m recipes.stream synthetic                                          # the same, small, on synthetic scenes

Car, pedestrian and bicyclist are learned in this order by every learner, five draws of shots for each network. Shots
come from train, every choice was made on val.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from owseg.data import DataSet, open_dataset, spread_over
from owseg.knowledge import KnowledgeBase, load
from owseg.learners import NPM, PLM, FineTune, Learner, Probe, remember
from owseg.learners.stream import draw, learn_stream
from owseg.metrics.iou import IoU, harmonic
from owseg.progress import track
from recipes.tables import markdown, spread

CLASSES = ("car", "pedestrian", "bicyclist")
LEARNERS: dict[str, Learner] = {"FT": FineTune(), "PLM": PLM(), "NPM": NPM(), "probe": Probe()}
PUBLISHED = {"16+1, 5 shots": 0.83, "16+3, 5 shots": 0.49, "16+1, 1 shot": 0.76, "16+3, 1 shot": 0.47}


def measure(args: argparse.Namespace) -> None:
    """Learn and measure everything for one network; append to ``runs/camvid/stream-SPLIT-SEED.json``."""
    base = load(args.runs / f"prototype-{args.seed}")
    frames = open_dataset(f"camvid:{args.data}", "train")
    data = open_dataset(f"camvid:{args.data}", args.split)
    bounds = {
        1: args.runs / f"prototype-{CLASSES[0]}-{args.seed}",
        len(CLASSES): args.runs / f"prototype-{'-'.join(CLASSES)}-{args.seed}",
    }
    found = {
        "network": args.seed,
        "first": bound(base, data),
        "joint": {str(n): bound(load(path), data) for n, path in bounds.items() if path.exists()},
        "runs": streams(base, frames, spread_over(data, args.most), CLASSES, range(args.draws), args.learners),
    }
    path = args.runs / f"stream-{args.split}-{args.seed}.json"
    path.write_text(json.dumps(found, indent=1))
    print(path, flush=True)


def streams(
    base: KnowledgeBase, frames: DataSet, data: DataSet, names: Sequence[str], draws: Sequence[int],
    learners: Sequence[str], shots: Sequence[int] = (5, 1),
) -> list[dict[str, Any]]:  # fmt: skip
    """Learn ``names`` in turn, for every draw, number of shots and learner; return IoU by class after each."""
    look, made = remember(base.forward, 1000), []
    for seed in draws:
        for count in shots:
            lessons = draw(frames, names, count, seed)
            for learner in learners:
                started = time.perf_counter()
                stages = learn_stream(base, lessons, method=LEARNERS[learner], look=look)
                seconds = time.perf_counter() - started
                made.append(({"learner": learner, "shots": count, "draw": seed, "seconds": seconds}, stages))
                if learner == "PLM":  # the same heads, the last one alone
                    alone = [replace(s, increments=(*s.increments[:-1], replace(s.increments[-1], alone=True)))
                             for s in stages]  # fmt: skip
                    made.append(({"learner": "PLM latest", "shots": count, "draw": seed, "seconds": seconds}, alone))
    steps = (1, len(names)) if len(names) > 1 else (1,)
    tallies = [{n: IoU.of(stages[n - 1].labels.names) for n in steps} for _, stages in made]
    truths = {n: DataSet(data.source, made[0][1][n - 1].labels) for n in steps}
    for i in track(range(len(data)), "evaluating", len(data)):
        samples = {n: truth[i] for n, truth in truths.items()}
        output = base.forward(samples[1].image)
        for (_, stages), tally in zip(made, tallies, strict=True):
            for n in steps:
                labels = stages[n - 1].closed(output, samples[n].target.shape)[0]
                tally[n] = tally[n].update(labels, samples[n].target)
    old = base.labels.names
    return [{**run, "after": {str(n): figures(tally[n], old) for n in steps}}
            for (run, _), tally in zip(made, tallies, strict=True)]  # fmt: skip


def figures(iou: IoU, old: Sequence[str]) -> dict[str, Any]:
    """Return IoU by class, mIoU of the old and of the novel ones, and their harmonic mean."""
    novel = [n for n in iou.names if n not in old]
    a, b = iou.mean(old), iou.mean(novel) if novel else 0.0
    return {"iou": iou.per_class(), "old": a, "novel": b, "harmonic": harmonic(a, b), "all": iou.mean()}


def bound(kb: KnowledgeBase, data: DataSet) -> dict[str, Any]:
    """Return the figures of a network that does not learn; its novel classes are those that no base network knows."""
    frames, iou = DataSet(data.source, kb.labels), IoU.of(kb.labels.names)
    for sample in track(frames, "evaluating", len(frames)):
        iou = iou.update(kb.closed(kb.forward(sample.image), sample.target.shape)[0], sample.target)
    return figures(iou, [n for n in kb.labels.names if n not in CLASSES])


def table(args: argparse.Namespace) -> None:
    """Print the tables of docs/results.md, mean ± standard deviation over networks and draws."""
    found = [json.loads(p.read_text()) for p in sorted(args.runs.glob(f"stream-{args.split}-*.json"))]
    for steps in (1, len(CLASSES)):
        novel = CLASSES[:steps]
        joint = [f["joint"][str(steps)] for f in found]
        rows = [("joint", "–", *cells(joint, novel), "1")]
        first = [f["first"] for f in found]
        rows.append(("first", "–", spread([v["old"] for v in first]), *["–"] * (len(novel) + 2), "0"))
        for shots in (5, 1):
            for learner in ("FT", "PLM latest", "PLM", "NPM", "probe"):
                runs = [(r["after"][str(steps)], f["joint"][str(steps)]) for f in found for r in f["runs"]
                        if r["learner"] == learner and r["shots"] == shots]  # fmt: skip
                share = spread([r["harmonic"] / j["harmonic"] for r, j in runs], 2)
                rows.append((learner, str(shots), *cells([r for r, _ in runs], novel), share))
        title = f"8+{steps}: {', '.join(novel)}, {args.split}, {len(found)} networks, {len(runs)} runs a row"
        markdown(title, ("learner", "shots", "old", *novel, "novel", "harmonic", "of joint"), rows)


def cells(runs: Sequence[dict[str, Any]], novel: Sequence[str]) -> tuple[str, ...]:
    per_class = (spread([r["iou"][n] for r in runs], 2) for n in novel)
    return spread([r["old"] for r in runs]), *per_class, *(spread([r[k] for r in runs]) for k in ("novel", "harmonic"))


def synthetic(args: argparse.Namespace) -> None:
    """The same on synthetic scenes, with the shipped knowledge base, small enough for a test."""
    base = load("synthetic")
    names = open_dataset("synthetic", "test", base.labels).unknown_classes()[: args.classes]
    data = spread_over(open_dataset("synthetic", "test"), args.most)
    runs = streams(base, open_dataset("synthetic", "shots"), data, names, range(args.draws), args.learners)
    rows = [(r["learner"], str(r["shots"]), f"{f['old']:.3f}", f"{f['novel']:.3f}", f"{f['harmonic']:.3f}")
            for r in runs for f in (r["after"][str(len(names))],)]  # fmt: skip
    markdown(f"Synthetic scenes: {', '.join(names)}", ("learner", "shots", "old", "novel", "harmonic"), rows)


def main() -> None:
    place = Path(os.environ.get("OWSEG_DATA", "."))
    steps = {"measure": measure, "table": table, "synthetic": synthetic}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=steps)
    parser.add_argument("--seed", type=int, default=0, help="which of the trained networks")
    parser.add_argument("--split", default="val")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--learners", nargs="*", default=list(LEARNERS), choices=list(LEARNERS))
    parser.add_argument("--most", type=int, default=10_000, help="evaluate at most so many frames, evenly spread")
    parser.add_argument("--classes", type=int, default=2, help="synthetic: how many classes to learn")
    parser.add_argument("--data", type=Path, default=place / "camvid", help="CamVid, SegNet layout")
    parser.add_argument("--runs", type=Path, default=Path("runs/camvid"))
    args = parser.parse_args()
    steps[args.step](args)


if __name__ == "__main__":
    main()
