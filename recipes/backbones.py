"""Backbones that stay as they are, and those that are tuned: docs/backbones.md, and the shipped street and street8.

    export OWSEG_DATA=DIR                            # DIR/camvid, DIR/anomaly, DIR/outlier_objects, DIR/labelmefacade
    python -m recipes.backbones train --classes 8 --seed 0   # car, pedestrian, bicyclist are unknown: street8-inliers
    python -m recipes.backbones train --classes 9 --seed 0   # car is known: what 8+1 could at best become
    python -m recipes.backbones train --classes 11 --seed 0  # all: what 8+3 could at best become
    python -m recipes.backbones train --classes 11 --photos --seed 0        # and photos of other towns: street-inliers
    python -m recipes.backbones train --classes 8 --outliers --seed 0       # and shown outliers: street8
    python -m recipes.backbones train --classes 11 --outliers --photos --seed 0     # and photos of other towns: street
    python -m recipes.backbones train --backbone efficientnet-lite1 --mode tuned --classes 8 --seed 0
    python -m recipes.backbones train --classes 8 --scales 1 --seed 0       # each image at one size
    python -m recipes.backbones train --classes 8 --classifier linear --seed 0
    python -m recipes.backbones train --classes 8 --members 1 --seed 0      # one decoder
    python -m recipes.backbones measure                      # test of CamVid, RoadAnomaly21, Fishyscapes Lost & Found
    python -m recipes.backbones measure --papers             # PLM and NPM as well: an hour more for each network
    python -m recipes.backbones table                        # the Markdown table
    python -m recipes.backbones table --measured recipes/measured/backbones     # that of docs/backbones.md

A training on a frozen EfficientNet-Lite0 takes about 35 core-minutes with bf16-mixed on a CPU that has bfloat16, 15
with one decoder, and 8 more with outliers. Half of val chooses the weights and the scales of the score; the other sets
are read to report.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from owseg._files import write_whole
from owseg.cli._options import parse_scales
from owseg.data.datasets import open_dataset
from owseg.data.outliers import open_outliers
from owseg.errors import OwsegError
from owseg.evaluation.evaluate import evaluate
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import calibrate, divide_val
from owseg.knowledge.load import load
from owseg.learners.base import Learner
from owseg.learners.npm import NPM
from owseg.learners.plm import PLM
from owseg.learners.probe import Probe
from owseg.metrics.iou import harmonic
from owseg.models.backbones.reference import reference_to
from owseg.training.build import build_knowledge_base
from owseg.training.config import CLASSIFIER, MEMBERS, PROTOTYPE_SCALE, SCALES, WIDTH, TrainConfig
from recipes.sequence import learned
from recipes.tables import markdown, spread
from recipes.towns import shown_photos

UNKNOWN_CLASSES = ("car", "pedestrian", "bicyclist")
SIZE = 540
SETS = {
    "camvid": ("camvid:{}/camvid", "test"),
    "roadanomaly21": ("roadanomaly21:{}/anomaly/RoadAnomaly21", "val"),
    "lostandfound": ("fishyscapes-lostfound:{}/anomaly/FS_LostFound_1024x512", "val"),
}
NONE: dict[str, Any] = {"scores": {}}
FACTORS = ",".join(f"{factor:g}" for factor in SCALES)
DRAWS, SHOTS = 5, 5
LEARNERS: dict[str, dict[str, Learner]] = {
    "shots": {"probe": Probe()},
    "paper_shots": {"PLM": PLM(), "NPM": NPM()},
}


def kind_of(args: argparse.Namespace) -> str:
    """Return the name of a kind of network, which those of other classes and seeds share."""
    head = "" if args.classifier == CLASSIFIER else args.classifier
    scale = "" if args.scale == PROTOTYPE_SCALE else f"T{args.scale:g}"
    scales = "" if args.scales == FACTORS else f"scales{args.scales}"
    decoders = "" if (args.members, args.width) == (MEMBERS, WIDTH) else f"{args.members}x{args.width}"
    batch = "" if args.batch == TrainConfig.batch else f"batch{args.batch}"
    shown = ("photos" if args.photos else "", "outliers" if args.outliers else "")
    parts = (Path(args.backbone).name, args.mode, head, scale, scales, decoders, batch, *shown)
    return "-".join(part for part in parts if part)


def train(args: argparse.Namespace) -> None:
    """Train a network at a working size of 540 pixels, half as large again as CamVid's images."""
    name = f"{kind_of(args)}-{args.classes}-{args.seed}"
    started, wall = time.process_time(), time.perf_counter()
    kb = build_knowledge_base(
        f"camvid:{args.data}/camvid",
        args.backbone,
        UNKNOWN_CLASSES[args.classes - 8 :],
        TrainConfig(mode=args.mode, batch=args.batch, seed=args.seed, precision=args.precision),
        args.runs / f"{name}.run",
        width=args.width,
        members=args.members,
        classifier=args.classifier,
        scale=args.scale,
        size=SIZE,
        scales=parse_scales(args.scales),
        half=True,
        outliers=open_outliers(args.data / "outlier_objects") if args.outliers else None,
        unlabeled=shown_photos(args.data / "labelmefacade") if args.photos else (),
        resume=args.resume,
    )
    _, calibration = divide_val(open_dataset(f"camvid:{args.data}/camvid", "val", kb.labels))
    kb = calibrate(kb, calibration, task="obstacles")
    version = kb.save(args.runs / name, is_of_package(kb))
    core, minutes = (time.process_time() - started) / 60, (time.perf_counter() - wall) / 60
    write_whole(args.runs / "measured" / f"{name}.json", json.dumps({"core_minutes": core}).encode())
    print(f"{name} version {version} after {core:.1f} core-minutes, {minutes:.1f} minutes")


def measure(args: argparse.Namespace) -> None:
    """Evaluate every trained network on every set, unknown classes and scores; metrics are kept in runs/measured."""
    for directory in sorted(p for p in args.runs.glob(args.only) if (p / "CURRENT").exists()):
        path = args.runs / "measured" / f"{directory.name}.json"
        result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        kb = load(directory)
        for name, what in measurements(kb, args.data, args.papers).items():
            if name not in result:
                result[name] = what()
                write_whole(path, json.dumps(result, indent=1).encode())
                print(directory.name, name, "measured", flush=True)


def measurements(kb: KnowledgeBase, data: Path, papers: bool = False) -> dict[str, Callable[[], Any]]:
    """Return what is measured of a network, by name; cars are an anomaly to one that does not know them.

    With ``papers`` classes are learned by DMLNet's methods as well.
    """
    sets = SETS if "bicyclist" in kb.labels else {"camvid": SETS["camvid"]}
    found: dict[str, Callable[[], Any]] = {n: partial(evaluated, kb, data, *where) for n, where in sets.items()}
    if "car" not in kb.labels:
        how = LEARNERS if papers else {"shots": LEARNERS["shots"]}
        found |= {name: partial(from_shots, kb, data, learners) for name, learners in how.items()}
    return {**found, "ms": partial(milliseconds, kb, data), "mb": partial(megabytes, kb)}


def evaluated(kb: KnowledgeBase, data: Path, spec: str, split: str) -> dict[str, Any]:
    """Return mIoU, IoU, and AP and FPR95 of every score."""
    result = evaluate(kb, open_dataset(spec.format(data), split, kb.labels), tuple(kb.scorers))
    scores = {n: {"auroc": s.auroc, "ap": s.ap, "fpr95": s.fpr95} for n, s in result.scores.items()}
    return {"miou": result.iou.mean(), "iou": result.iou.per_class(), "scores": scores}


def from_shots(kb: KnowledgeBase, data: Path, learners: dict[str, Learner]) -> list[dict[str, Any]]:
    """Return what is learned of car, pedestrian and bicyclist: a run for each learner, draw and number of shots."""
    frames, test = (open_dataset(f"camvid:{data}/camvid", split) for split in ("train", "test"))
    return learned(kb, frames, test, UNKNOWN_CLASSES, range(DRAWS), learners)


def is_of_package(kb: KnowledgeBase) -> bool:
    """Return whether the backbone is as a package has it, and so need not be stored."""
    try:
        reference_to(kb.network.backbone)
    except OwsegError:
        return False
    return True


def megabytes(kb: KnowledgeBase) -> dict[str, float]:
    """Return the size of a stored version, in MB: whole, and slim where its backbone is of a package."""
    sizes = {}
    for name in ("whole", "slim") if is_of_package(kb) else ("whole",):
        with tempfile.TemporaryDirectory() as place:
            kb.save(place, slim=name == "slim")
            sizes[name] = sum(f.stat().st_size for f in Path(place).rglob("*") if f.is_file()) / 1e6
    return sizes


def milliseconds(kb: KnowledgeBase, data: Path) -> dict[str, float]:
    """Return the median time in ms of a forward pass and of its score, of an image of CamVid, on one thread."""
    torch.set_num_threads(1)
    image = open_dataset(f"camvid:{data}/camvid", "test", kb.labels)[0].image
    output, size = kb.forward(image), (image.shape[1], image.shape[2])
    return {
        "forward": _median(lambda: kb.forward(image)),
        "score": _median(lambda: kb.assess(output, size)),
    }


def _median(call: Callable[[], object], times: int = 7) -> float:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - started))
    return sorted(taken)[times // 2]


def table(args: argparse.Namespace) -> None:
    """Print the tables of docs/backbones.md, mean ± standard deviation over seeds, with the score joint."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for path in sorted((args.measured or args.runs / "measured").glob("*.json")):
        kind, classes, seed = path.stem.rsplit("-", 2)
        found.setdefault(kind, {}).setdefault(classes, {})[seed] = json.loads(path.read_text())
    rows, learned_rows = [], []
    for kind, nets in found.items():
        small, large = nets.get("8", {}), nets.get("11", {})
        # Outliers change no label, so a network that was shown some has the bounds of the one that was not.
        middle = nets.get("9") or found.get(kind.removesuffix("-outliers"), {}).get("9", {})
        every = [*small.values(), *large.values()]
        rows.append((
            kind, str(max(len(small), len(large))), *(spread(_values(n, "camvid", "miou")) for n in (large, small)),
            _score(small, "camvid"), _score(large, "roadanomaly21"), _score(large, "lostandfound"), _novel(small),
            *(spread(_values(every, "ms", part), 0) for part in ("forward", "score")),
            spread(_values(every, "mb", "whole"), 1),
            spread([n["core_minutes"] for n in every if "core_minutes" in n], 0),
        ))  # fmt: skip
        for steps, bound in ((1, middle), (3, large)):
            learned_rows += [
                (kind, f"8+{steps}", name, str(shots), *_of_joint(small, bound, name, steps, shots))
                for shots in (5, 1) for name in ("probe", "PLM", "NPM")
            ]  # fmt: skip
    sets = ("CamVid: AP / FPR95", "RoadAnomaly21", "Lost & Found")
    header = ("network", "seeds", "mIoU, 11", "mIoU, 8", *sets, "car / pedestrian / bicyclist", "ms", "score, ms", "MB")
    markdown("Backbones", (*header, "core-minutes"), rows)
    header = ("network", "classes", "learner", "shots", "old", "novel", "harmonic", "of joint")
    markdown("From shots", header, [row for row in learned_rows if row[4] != "–"])
    for kind, nets in found.items():
        columns = [(nets.get("8", {}), "camvid"), *((nets.get("11", {}), name) for name in SETS if name != "camvid")]
        names = dict.fromkeys(s for of, name in columns for net in of.values() for s in net.get(name, NONE)["scores"])
        markdown(f"Scores, {kind}", ("score", *sets), [(s, *(_score(*c, s) for c in columns)) for s in names])


def _values(nets: Any, name: str, key: str) -> list[float]:
    nets = nets.values() if isinstance(nets, dict) else nets
    return [n[name][key] for n in nets if name in n]


def _score(nets: dict[str, Any], name: str, score: str = "joint") -> str:
    """Return AP and FPR95 of ``score`` on the set ``name``."""
    scores = [n[name]["scores"][score] for n in nets.values() if score in n.get(name, NONE)["scores"]]
    return f"{spread([s['ap'] for s in scores])} / {spread([s['fpr95'] for s in scores])}"


def _runs(net: dict[str, Any], learner: str, steps: int, shots: int) -> list[dict[str, Any]]:
    """Return the metrics of each draw after ``learner`` was shown ``steps`` classes in ``shots`` images each."""
    runs = [run for name in LEARNERS for run in net.get(name, ())]
    return [run["after"][str(steps)] for run in runs if (run["learner"], run["shots"]) == (learner, shots)]


def _novel(nets: dict[str, Any]) -> str:
    """Return the IoU of each class, learned one after another from five shots."""
    runs = [run for net in nets.values() for run in _runs(net, "probe", len(UNKNOWN_CLASSES), SHOTS)]
    return " / ".join(spread([run["iou"][c] for run in runs], 2) for c in UNKNOWN_CLASSES)


def _of_joint(nets: dict[str, Any], bounds: dict[str, Any], learner: str, steps: int, shots: int) -> tuple[str, ...]:
    """Return old, novel and harmonic mIoU, and the last as a share of that of a network that was trained on all."""
    runs = [run for net in nets.values() for run in _runs(net, learner, steps, shots)]
    novel = UNKNOWN_CLASSES[:steps]
    shares = []
    for seed, net in nets.items():
        iou = bounds.get(seed, {}).get("camvid", {}).get("iou", {})
        if iou:
            old = [v for c, v in iou.items() if c not in novel]
            best = harmonic(sum(old) / len(old), sum(iou[c] for c in novel) / steps)
            shares += [run["harmonic"] / best for run in _runs(net, learner, steps, shots)]
    return *(spread([run[key] for run in runs]) for key in ("old", "novel", "harmonic")), spread(shares, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("train", "measure", "table"))
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--mode", default="frozen")
    parser.add_argument("--classifier", default=CLASSIFIER, choices=("linear", "prototype"))
    parser.add_argument("--scale", type=float, default=PROTOTYPE_SCALE, help="T of the prototypes")
    parser.add_argument("--scales", default=FACTORS, help="factors of the working size, with commas")
    parser.add_argument("--members", type=int, default=MEMBERS, help="how many decoders, whose mean is used")
    parser.add_argument("--width", type=int, default=WIDTH, help="channels of each")
    parser.add_argument("--batch", type=int, default=TrainConfig.batch, help="images a step")
    parser.add_argument("--classes", type=int, default=8, choices=(8, 9, 11), help="how many are known")
    parser.add_argument("--outliers", action="store_true", help="show outliers in training")
    parser.add_argument("--photos", action="store_true", help="show photos of other towns, without labels, for scores")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("OWSEG_DATA", "data")))
    parser.add_argument("--runs", type=Path, default=Path("runs/backbones"))
    parser.add_argument("--only", default="*", help="measure only networks of such names")
    parser.add_argument("--papers", action="store_true", help="measure PLM and NPM, too")
    parser.add_argument("--measured", type=Path, help="the folder of metrics for the table, by default RUNS/measured")
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    if args.photos and args.classes != 11:
        parser.error("the photos show cars and people, which a network of fewer classes must not see; omit --photos")
    {"train": train, "measure": measure, "table": table}[args.step](args)


if __name__ == "__main__":
    main()
