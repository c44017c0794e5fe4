"""The quality of a queue: how pure its groups are, and how many clicks it takes to learn a new class from it.

    export OWSEG_DATA=DIR                                  # DIR/camvid holds the data
    python -m recipes.discover queue                       # every third image of train, street8; minutes, resumable
    python -m recipes.discover groups                      # adjusted Rand index and purity against the ground truth
    python -m recipes.discover order                       # which five of the accepted images to learn from; on val
    python -m recipes.discover clicks                      # measured on val: choices
    python -m recipes.discover table
    for step in queue groups clicks table; do              # what is reported: of test, measured on its other images
        python -m recipes.discover $step --images test --split test --runs runs/discover-test
    done

``--kb`` names any knowledge base whose network does not know the classes of ``--unknown``. The class of a region is
that of most of its labelled pixels; one that is mostly void is left out. A region of a class that the network knows is
a false positive, "known".

Clicks, for one class X at a time, until X has the five images that it is learned from. A person goes through the
groups in their order, a page of at most twelve regions after the other, the most typical first, until a page shows no
X; then the next group. One click turns a page, one accepts a region that shows X. After each accepted region X is
learned by ``Probe()`` and its IoU measured. "as found" learns from ``queue.shots``, with the masks as they are; "drawn"
from the images of the accepted regions with X drawn by hand. "random" are frames of the same images in random
order: a click to look at each, wasted where X is not there (below ``MIN_AREA``), X drawn by hand where it is. Drawing
costs no click. "best five" are those of ``sample_shots``, which knows every mask: what 90 % refers to.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from owseg._files import write_whole
from owseg._progress import track
from owseg.data.dataset import DataSet, spread_over
from owseg.data.datasets import open_dataset
from owseg.data.images import find_images, read_mask
from owseg.data.shots import sample_shots, shot_of
from owseg.discovery.discover import discover
from owseg.discovery.queue import Queue
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.knowledge.regions import MIN_AREA
from owseg.labels import IGNORE
from owseg.learners.learn import learn
from owseg.learners.probe import Probe
from owseg.metrics.iou import IoU
from owseg.models.cache import CachedForward
from owseg.types import DEFAULT_SHOTS, Forward, Shot
from recipes.tables import markdown, spread

CLASSES = ("car", "pedestrian", "bicyclist")
PAGE, SHARE, FIRST = 12, 0.9, 50


def queue(args: argparse.Namespace) -> None:
    """Make the queue; after an interruption run it again to continue."""
    paths = find_images(args.data / args.images)[:: args.every]
    _, found = discover(load(args.kb), paths, args.runs / "queue", args.kb)
    print(f"{found.images} images, {found.regions} regions, {found.copies} copies, {found.groups} groups")


def classes_of(args: argparse.Namespace, q: Queue) -> dict[str, str]:
    """Return the class of each region: an unknown one, or "known"; regions of void are left out."""
    names, found = open_dataset(f"camvid:{args.data}", args.images).labels.names, {}
    for one in q.image_ids():
        entry = q.entry(one)
        raw = _mask(args, entry.name)
        for region, r in zip(entry.ids, entry.regions, strict=True):
            counts = np.bincount(raw[r.mask.mask()], minlength=256)[: len(names)]
            if counts.sum() > 0.5 * r.area:
                name = names[counts.argmax()]
                found[region] = name if name in args.unknown else "known"
    return found


def _mask(args: argparse.Namespace, name: str) -> np.ndarray:
    raw = read_mask(args.data / f"{args.images}annot" / f"{Path(name).stem}.png")
    return np.where(raw == 11, IGNORE, raw)


def groups(args: argparse.Namespace) -> None:
    """Print how well the groups keep the classes apart."""
    from sklearn.metrics import adjusted_rand_score

    q = Queue.open(args.runs / "queue")
    classes, numbers = classes_of(args, q), {r: g.number for g in q.groups() for r in g.regions}
    kept = [r for r in numbers if r in classes]
    rows = []
    for title, some in (("all regions", kept), ("without false positives", [r for r in kept if classes[r] != "known"])):
        a, b = np.array([classes[r] for r in some]), np.array([numbers[r] for r in some])
        most = sum(np.unique(a[b == g], return_counts=True)[1].max() for g in np.unique(b))
        alone = len(np.unique(b))
        rows.append((title, str(len(some)), str(alone), f"{adjusted_rand_score(a, b):.3f}", f"{most / len(some):.3f}"))
    markdown(f"Groups, {q.info.kb}", ("", "regions", "groups", "ARI", "purity"), rows)
    first = [classes.get(r, "void") for g in q.groups() for r in g.regions][:FIRST]
    print(f"\nOf the first {len(first)} regions {first.count('known')} are known and {first.count('void')} void.")
    for g in q.groups()[:12]:
        names = [classes.get(r, "void") for r in g.regions]
        print(g.number, {n: names.count(n) for n in dict.fromkeys(names)})


def clicks(args: argparse.Namespace) -> None:
    """Learn each class from the queue and from random frames; what ``runs/discover/SPLIT.json`` has is not repeated."""
    path = args.runs / f"{args.split}.json"
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    base, q = load(args.kb), Queue.open(args.runs / "queue")
    forward, frames = CachedForward(base.engine(), 4.0), open_dataset(f"camvid:{args.data}", args.images)
    few = frames.pick(range(0, len(frames), args.every))
    data = open_dataset(f"camvid:{args.data}", args.split)
    if args.split == args.images:  # without those that were learned from
        data = data.pick([i for i in range(len(data)) if i % args.every])
    data = spread_over(data, args.most)
    classes = classes_of(args, q)
    for name in args.unknown:
        ways: dict[str, Any] = {"as found": lambda n=name: found(q, classes, n)}
        ways["drawn"] = lambda n=name: drawn(args, q, classes, n, few)
        for seed in range(args.draws):
            ways[f"random {seed}"] = lambda n=name, s=seed: random(few, n, s)
            ways[f"best five {seed}"] = lambda n=name, s=seed: [(0, sample_shots(few, n, DEFAULT_SHOTS, s))]
        for way, shots in ways.items():
            if f"{name}, {way}" not in done:
                curve = [(n, iou(base, name, some, data, forward)) for n, some in shots()]
                done[f"{name}, {way}"] = curve
                write_whole(path, json.dumps(done, indent=1).encode())
                print(name, way, " ".join(f"{n}:{v:.3f}" for n, v in curve), flush=True)


def order(args: argparse.Namespace) -> None:
    """Print what is learned from five of the images of each class, by the order in which they are taken."""
    base, q = load(args.kb), Queue.open(args.runs / "queue")
    forward, frames = CachedForward(base.engine(), 4.0), open_dataset(f"camvid:{args.data}", args.images)
    data = spread_over(open_dataset(f"camvid:{args.data}", args.split), args.most)
    classes, rows = classes_of(args, q), []
    for name in args.unknown:
        while q.undo():
            pass
        q.accept([r for g in q.groups() for r in g.regions if classes.get(r) == name], name)
        first, areas = q.images_of(name), dict[str, int]()
        for region in q.accepted()[name]:
            image_id, k = q.locate(region)
            areas[image_id] = areas.get(image_id, 0) + q.summary(image_id).areas[k - 1]
        ways = {"accepted first": first, "largest area": sorted(areas, key=lambda i: -areas[i])}
        for seed in range(args.draws):
            ways[f"random {seed}"] = [first[i] for i in np.random.default_rng(seed).permutation(len(first))]
        for way, images in ways.items():
            as_found = q.shots(name, images=images[:DEFAULT_SHOTS])
            stems = [Path(q.entry(i).name).stem for i in images[:DEFAULT_SHOTS]]
            by_hand = [shot_of(frames, frames.source.ids.index(stem), name) for stem in stems]
            found = [iou(base, name, shots, data, forward) for shots in (as_found, by_hand)]
            rows.append((name, str(len(first)), way, *(f"{v:.3f}" for v in found)))
            print(*rows[-1], flush=True)
    markdown(f"Which five images, {args.split}", ("class", "images", "those", "as found", "drawn"), rows)


def accepted_in_order(q: Queue, classes: dict[str, str], name: str) -> Iterator[tuple[int, str]]:
    """Yield each region that is accepted and the clicks so far."""
    count = 0
    for group in q.groups():
        for page in (group.regions[i : i + PAGE] for i in range(0, len(group), PAGE)):
            count += 1
            for region in (shown := [r for r in page if classes.get(r) == name]):
                count += 1
                yield count, region
            if not shown:
                break


def found(q: Queue, classes: dict[str, str], name: str) -> Iterator[tuple[int, list[Shot]]]:
    """Yield clicks and shots, until there are five, with the regions' own masks."""
    while q.undo():
        pass
    for count, region in accepted_in_order(q, classes, name):
        q.accept(region, name)
        yield count, (shots := q.shots(name))
        if len(shots) == DEFAULT_SHOTS:
            return


def drawn(
    args: argparse.Namespace, q: Queue, classes: dict[str, str], name: str, frames: DataSet
) -> Iterator[tuple[int, list[Shot]]]:
    """Yield clicks and shots, until there are five, each image with an accepted region drawn by hand."""
    shots: dict[str, Shot] = {}
    for count, region in accepted_in_order(q, classes, name):
        stem = Path(q.region(region).image_id).stem
        if stem not in shots:
            shots[stem] = shot_of(frames, frames.source.ids.index(stem), name)
            yield count, list(shots.values())
        if len(shots) == DEFAULT_SHOTS:
            return


def random(frames: DataSet, name: str, seed: int) -> Iterator[tuple[int, list[Shot]]]:
    """Yield clicks and shots, until there are five, of images in random order."""
    shots: list[Shot] = []
    for count, i in enumerate(np.random.default_rng(seed).permutation(len(frames)), 1):
        shot = shot_of(frames, int(i), name)
        if shot.positives.mean() >= MIN_AREA:
            shots.append(shot)
            yield count, list(shots)
        if len(shots) == DEFAULT_SHOTS:
            return


def iou(base: KnowledgeBase, name: str, shots: list[Shot], data: DataSet, forward: Forward) -> float:
    """Return the IoU of the class after learning it."""
    kb = learn(base, name, shots, method=Probe(), forward=forward)
    frames, state = DataSet(data.source, kb.labels), IoU.of(kb.labels.names)
    for sample in track(frames, f"measuring {name}", len(frames)):
        state = state.update(kb.assess(forward(sample.image), sample.target.shape).labels, sample.target)
    return state.per_class()[name]


def table(args: argparse.Namespace) -> None:
    """Print IoU with the last of the five shots, and the clicks until 90 % of that of the best five."""
    done = json.loads((args.runs / f"{args.split}.json").read_text())
    rows = []
    for name in args.unknown:
        curves = {way: [c for key, c in done.items() if key.startswith(f"{name}, {way}")]
                  for way in ("best five", "as found", "drawn", "random")}  # fmt: skip
        aim = SHARE * float(np.mean([c[-1][1] for c in curves["best five"]]))
        for way, runs in curves.items():
            reached = [next((n for n, v in c if v >= aim), None) for c in runs]
            last = [c[-1] for c in runs if c]
            needed = "–" if way == "best five" else ", ".join("never" if n is None else str(n) for n in reached)
            rows.append((name, way, spread([v for _, v in last]), spread([n for n, _ in last], 1), needed))
    title = f"Clicks, {args.split}; aim: {SHARE:.0%} of best five"
    markdown(title, ("class", "shots", "IoU of five", "clicks for five", "clicks to the aim"), rows)


def main() -> None:
    place = Path(os.environ.get("OWSEG_DATA", "."))
    steps = {"queue": queue, "groups": groups, "clicks": clicks, "table": table, "order": order}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=steps)
    parser.add_argument("--kb", default="street8", help="does not know the classes of --unknown")
    parser.add_argument("--unknown", nargs="*", default=list(CLASSES))
    parser.add_argument("--images", default="train", choices=("train", "val", "test"), help="the split of the queue")
    parser.add_argument("--every", type=int, default=3, help="every so many frames of it")
    parser.add_argument("--split", default="val", help="where IoU is measured")
    parser.add_argument("--draws", type=int, default=5, help="random orders, and draws of the best five")
    parser.add_argument("--most", type=int, default=60, help="measure on at most so many frames, evenly spread")
    parser.add_argument("--data", type=Path, default=place / "camvid", help="CamVid, SegNet layout")
    parser.add_argument("--runs", type=Path, default=Path("runs/discover"))
    args = parser.parse_args()
    steps[args.step](args)


if __name__ == "__main__":
    main()
