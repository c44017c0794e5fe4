"""Learning classes without forgetting: DMLNet's Table 4 on CamVid, from five shots and from one.

    export OWSEG_DATA=DIR                                                       # DIR/camvid holds the data
    for s in 0 1 2; do                                                          # three networks, and their bounds:
        python -m recipes.camvid train --seed $s                                #   8 classes
        python -m recipes.camvid train --seed $s --also car                     #   9, what 8+1 could at best become
        python -m recipes.camvid train --seed $s --also car pedestrian bicyclist  # 11, what 8+3 could at best become
        python -m recipes.sequence measure --seed $s --split test
    done
    python -m recipes.sequence table --split test

    python -m recipes.sequence synthetic                                          # the same, small, on synthetic scenes

Car, pedestrian and bicyclist are learned in this order by every learner, from five draws of shots for each network.
Shots come from train; every choice was made on val. With ``--unknown sign fence --runs runs/other`` on every line, the
same is done for any other classes.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from owseg._files import write_whole
from owseg._progress import track
from owseg.data.dataset import DataSet, spread_over
from owseg.data.datasets import open_dataset
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.learners.base import Learner
from owseg.learners.finetune import FineTune
from owseg.learners.npm import NPM
from owseg.learners.plm import PLM
from owseg.learners.probe import Probe
from owseg.learners.sequence import learn_sequence, sample_classes
from owseg.metrics.iou import IoU, harmonic
from owseg.models.cache import CachedForward
from owseg.models.ops import resize
from owseg.openset import closed_map
from owseg.types import Output
from recipes.tables import markdown, spread

CLASSES = ("car", "pedestrian", "bicyclist")
LEARNERS = ("FT", "PLM", "NPM", "probe")


def measure(args: argparse.Namespace) -> None:
    """Learn and measure for one network; a learner that is in ``runs/camvid/sequence-SPLIT`` already is skipped."""
    path = args.runs / f"sequence-{args.split}" / f"{args.seed}.json"
    path.parent.mkdir(exist_ok=True)
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"joint": {}}
    base = load(args.runs / f"prototype-{args.seed}")
    frames = open_dataset(f"camvid:{args.data}", "train")
    data = spread_over(open_dataset(f"camvid:{args.data}", args.split), args.most)
    had = found.setdefault("runs", [])
    missing = {name: how for name, how in learners(args).items() if name not in {r["learner"] for r in had}}
    if missing:
        found["runs"] = had + learned(base, frames, data, args.unknown, range(args.draws), missing)
        write_whole(path, json.dumps(found, indent=1).encode())
    if "first" not in found:
        found["first"] = bound(base, data, args.unknown)
    for steps in sorted({1, len(args.unknown)}):
        known = args.runs / "-".join(("prototype", *args.unknown[:steps], str(args.seed)))
        if str(steps) not in found["joint"] and known.exists():
            found["joint"][str(steps)] = bound(load(known), data, args.unknown)
    write_whole(path, json.dumps(found, indent=1).encode())
    print(path, "has the bounds", *found["joint"], flush=True)


def learners(args: argparse.Namespace) -> dict[str, Learner]:
    made: dict[str, Learner] = {"FT": FineTune(steps=args.steps // 4), "PLM": PLM(steps=args.steps), "NPM": NPM()}
    made["probe"] = Probe()
    return {name: made[name] for name in args.learners}


def learned(
    base: KnowledgeBase, frames: DataSet, data: DataSet, names: Sequence[str], draws: Sequence[int],
    learners: dict[str, Learner],
) -> list[dict[str, Any]]:  # fmt: skip
    """Learn ``names`` in turn, for every draw, number of shots and learner; return the metrics after each."""
    forward, made = CachedForward(base.engine(), 6.0), []
    for seed in draws:
        for shots in (5, 1):
            classes = sample_classes(frames, names, shots, seed)
            for row, learner in learners.items():
                started = time.perf_counter()
                stages = learn_sequence(base, classes, method=learner, forward=forward)
                run = {"shots": shots, "draw": seed, "seconds": time.perf_counter() - started}
                made.append((row, run, stages))
                print(row, run, flush=True)
    steps = (1, len(names)) if len(names) > 1 else (1,)
    in_new_labels = {n: DataSet(data.source, made[0][2][n - 1].labels) for n in steps}
    states: list[dict[tuple[str, int], IoU]] = [{} for _ in made]
    for i in track(range(len(data)), "evaluating", len(data)):
        samples = {n: target[i] for n, target in in_new_labels.items()}
        output = base.forward(samples[1].image)
        for (row, _, stages), found in zip(made, states, strict=True):
            for (name, n), labels in maps(row, stages, steps, output, samples[1].target.shape).items():
                iou = found.get((name, n)) or IoU.of(in_new_labels[n].labels.names)
                found[name, n] = iou.update(labels, samples[n].target)
    return [
        {"learner": name, **run, "after": {str(n): metrics(found[name, n], base.labels.names) for n in steps}}
        for (_, run, _), found in zip(made, states, strict=True)
        for name in dict.fromkeys(name for name, _ in found)
    ]


def maps(
    row: str, stages: Sequence[KnowledgeBase], steps: Sequence[int], output: Output, size: tuple[int, int]
) -> dict[tuple[str, int], np.ndarray]:
    """Return the closed map by row of the table and number of classes learned; each head runs once."""
    if row not in ("FT", "PLM"):
        return {(row, n): stages[n - 1].assess(output, size, ("msp",)).labels for n in steps}  # msp is cheap
    heads, first = stages[-1].increments, stages[0].network.num_classes
    alone = {n: heads[n - 1].labels(output, size) for n in (range(1, len(heads) + 1) if row == "PLM" else steps)}
    found = {("FT" if row == "FT" else "PLM latest", n): alone[n][0].to(torch.uint8).numpy() for n in steps}
    labels = closed_map(resize(output.logits, size))
    for n, own in alone.items() if row == "PLM" else ():
        labels = torch.where(own == first + n - 1, own, labels)
        if n in steps:
            found["PLM", n] = labels[0].to(torch.uint8).numpy()
    return found


def metrics(iou: IoU, old: Sequence[str]) -> dict[str, Any]:
    """Return IoU by class, mIoU of the old and of the novel ones, and their harmonic mean."""
    novel = [n for n in iou.names if n not in old]
    a, b = iou.mean(old), iou.mean(novel) if novel else 0.0
    return {"iou": iou.per_class(), "old": a, "novel": b, "harmonic": harmonic(a, b), "all": iou.mean()}


def bound(kb: KnowledgeBase, data: DataSet, novel: Sequence[str]) -> dict[str, Any]:
    """Return the metrics of a network that does not learn."""
    frames, iou = DataSet(data.source, kb.labels), IoU.of(kb.labels.names)
    for sample in track(frames, "evaluating", len(frames)):
        iou = iou.update(kb.assess(kb.forward(sample.image), sample.target.shape).labels, sample.target)
    return metrics(iou, [n for n in kb.labels.names if n not in novel])


def table(args: argparse.Namespace) -> None:
    """Print the tables of docs/results/learning.md, mean ± standard deviation over networks and draws."""
    found = [json.loads(p.read_text()) for p in sorted((args.runs / f"sequence-{args.split}").glob("*.json"))]
    for steps in sorted({1, len(args.unknown)}):
        novel = args.unknown[:steps]
        joint = [f["joint"][str(steps)] for f in found if str(steps) in f["joint"]]
        bounded = len(joint) == len(found)  # a bound that was not trained leaves its column empty
        rows = [("joint", "–", *cells(joint, novel), "1")] if bounded else []
        first = [f["first"] for f in found]
        rows.append(("first", "–", spread([v["old"] for v in first]), *["–"] * (len(novel) + 3)))
        for shots in (5, 1):
            for learner in ("FT", "PLM latest", "PLM", "NPM", "probe"):
                runs = [(r["after"][str(steps)], f["joint"].get(str(steps))) for f in found for r in f["runs"]
                        if r["learner"] == learner and r["shots"] == shots]  # fmt: skip
                share = spread([r["harmonic"] / j["harmonic"] for r, j in runs], 2) if bounded else "–"
                rows.append((learner, str(shots), *cells([r for r, _ in runs], novel), share))
        what = f"{11 - len(args.unknown)}+{steps}: {', '.join(novel)}"
        title = f"{what}; {args.split}, {len(found)} networks, {len(runs)} runs a row"
        markdown(title, ("learner", "shots", "old", *novel, "novel", "harmonic", "of joint"), rows)


def cells(runs: Sequence[dict[str, Any]], novel: Sequence[str]) -> tuple[str, ...]:
    per_class = (spread([r["iou"][n] for r in runs], 2) for n in novel)
    return spread([r["old"] for r in runs]), *per_class, *(spread([r[k] for r in runs]) for k in ("novel", "harmonic"))


def synthetic(args: argparse.Namespace) -> None:
    """Do the same on synthetic scenes, with the shipped knowledge base, small enough for a test."""
    base = load("synthetic")
    names = open_dataset("synthetic", "test", base.labels).unknown_classes()[: args.classes]
    data = spread_over(open_dataset("synthetic", "test"), args.most)
    runs = learned(base, open_dataset("synthetic", "shots"), data, names, range(args.draws), learners(args))
    rows = [(r["learner"], str(r["shots"]), f"{f['old']:.3f}", f"{f['novel']:.3f}", f"{f['harmonic']:.3f}")
            for r in runs for f in (r["after"][str(len(names))],)]  # fmt: skip
    markdown(f"Synthetic scenes: {', '.join(names)}", ("learner", "shots", "old", "novel", "harmonic"), rows)


def main() -> None:
    place = Path(os.environ.get("OWSEG_DATA", "."))
    steps = {"measure": measure, "table": table, "synthetic": synthetic}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=steps)
    parser.add_argument("--seed", type=int, default=0, help="which of the trained networks")
    parser.add_argument("--unknown", nargs="*", default=list(CLASSES), help="what the base networks do not know")
    parser.add_argument("--split", default="val")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--learners", nargs="*", default=LEARNERS, choices=LEARNERS)
    parser.add_argument("--steps", type=int, default=200, help="of PLM for each head; FT takes a quarter")
    parser.add_argument("--most", type=int, default=10_000, help="evaluate at most so many frames, evenly spread")
    parser.add_argument("--classes", type=int, default=2, help="synthetic: how many classes to learn")
    parser.add_argument("--data", type=Path, default=place / "camvid", help="CamVid, SegNet layout")
    parser.add_argument("--runs", type=Path, default=Path("runs/camvid"))
    args = parser.parse_args()
    steps[args.step](args)


if __name__ == "__main__":
    main()
