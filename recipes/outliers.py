"""Outlier exposure: RPL and CoroCL over a frozen network, on RoadAnomaly21 and Fishyscapes Lost & Found.

    export OWSEG_DATA=DIR                                   # DIR/camvid, outlier_objects, coco_context, anomaly
    python -m recipes.outliers train --weights ESPNETV2 --seed 0            # RPL + CoroCL; seeds 0, 1, 2
    python -m recipes.outliers train --weights ESPNETV2 --without corocl    # RPL alone
    python -m recipes.outliers train --weights ESPNETV2 --without corocl inlier  # or entropy, energy: the ablation
    python -m recipes.outliers train --weights ESPNETV2 --place embedding   # where owseg 0.1.0 added the residual
    python -m recipes.outliers train --network fddwnet-cityscapes --weights FDDWNET     # over another network
    python -m recipes.outliers train --network street-inliers
    python -m recipes.outliers measure --weights ESPNETV2                   # every score of every network, frozen too
    python -m recipes.outliers table                                        # --measured FILE: of a file of metrics
    python -m recipes.outliers audit --weights ESPNETV2 --backbone MOBILENETV2  # which outliers resemble the anomalies
    python -m recipes.outliers sheet                                        # a contact sheet of pasted images
    python -m recipes.outliers sheet --synthetic                            # the same of synthetic scenes, for the docs

ESPNETV2 and FDDWNET are the folders of their weights. Inlier images are CamVid's training images without their labels;
the weights are chosen on those of val with other outliers pasted in. The anomaly sets are read only to evaluate.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from owseg._files import write_whole
from owseg._progress import track
from owseg.data.dataset import DataSet, spread_over
from owseg.data.datasets import open_dataset
from owseg.data.outliers import Outlier, Outliers, leave_out, open_outliers
from owseg.evaluation.outlier_audit import audit, backbone_engine, summary
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.labels import UNKNOWN
from owseg.metrics.binned import Binned
from owseg.models.backbones.base import from_pretrained
from owseg.models.published import NETWORKS
from owseg.models.residual_pattern import PLACES
from owseg.scorers.smoothing import gaussian
from owseg.training.config import ResidualConfig
from owseg.training.pasting import pasted
from owseg.training.residual import train_residual
from recipes.tables import markdown, spread

SETS = {"RoadAnomaly21": "roadanomaly21", "FS_LostFound_1024x512": "fishyscapes-lostfound"}
WITHOUT = {
    "corocl": {"contrast_weight": 0.0},
    "entropy": {"entropy_weight": 0.0},
    "inlier": {"inlier_weight": 0.0},
    "energy": {"outlier_weight": 0.0},
}
LONGER = 1024
"""The longer side, in pixels, of the images that the network gets."""


def frozen_network(args: argparse.Namespace) -> KnowledgeBase:
    """Return the network that stays as it is: a published one, of a file, or one that ships."""
    return load(args.network, weights=args.weights if args.network in NETWORKS else None)


def runs_of(args: argparse.Namespace) -> Path:
    """Return the folder of what is trained over this network."""
    return Path(args.runs) / args.network


def inlier_images(place: Path, split: str, kb: KnowledgeBase) -> DataSet:
    """Return CamVid's images without their labels."""
    data = open_dataset(f"camvid:{place}", split)
    source = replace(data.source, read=lambda i: (data.source.read(i)[0], None))
    return DataSet(source, kb.labels)


def exposed(place: Path, kb: KnowledgeBase, unwanted: list[str]) -> tuple[Outliers, Outliers]:
    """Return the objects to paste and the images that show some where they belong, none of them a known class."""
    objects, context = (open_outliers(place / n).unknown_to(kb.labels) for n in ("outlier_objects", "coco_context"))
    objects, around = leave_out(unwanted, objects, context)
    return objects, around or context


def train(args: argparse.Namespace) -> None:
    """Train a residual pattern for the frozen network; it is stored in runs/outliers/NETWORK/NAME-SEED."""
    kb, runs = frozen_network(args), runs_of(args)
    objects, context = exposed(args.data, kb, args.leave_out)
    less = {key: value for what in args.without for key, value in WITHOUT[what].items()}
    config = ResidualConfig(epochs=args.epochs, seed=args.seed, precision=args.precision, place=args.place, **less)
    place = "" if args.place == ResidualConfig.place else f"-{args.place}"
    name = f"{'-'.join(['without', *args.without]) if args.without else 'rpl'}{place}{args.suffix}-{args.seed}"
    started = time.process_time()
    known, val = (inlier_images(args.data / "camvid", split, kb) for split in ("train", "val"))
    around = None if "corocl" in args.without else context
    new = train_residual(kb, known, val, objects, around, config, runs / f"{name}.run", args.resume)
    minutes = (time.process_time() - started) / 60
    print(name, "version", new.save(runs / name), f"after {minutes:.1f} core-minutes:", new.history[-1].message)


def pairs(data: DataSet) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield images whose longer side is ``LONGER``, and their ground truth at its own size."""
    for sample in data:
        image = torch.from_numpy(sample.image)[None].float()
        height, width = (round(n * LONGER / max(image.shape[-2:])) for n in image.shape[-2:])
        resized = F.interpolate(image, (height, width), mode="bilinear", antialias=True)[0].round().byte().numpy()
        yield resized, np.asarray(sample.target)


def measure(args: argparse.Namespace) -> None:
    """Evaluate every score of the frozen network, and rpl of those with a residual pattern, on the anomaly sets."""
    runs = runs_of(args)
    trained = sorted(p for p in runs.iterdir() if (p / "CURRENT").exists())
    found: dict[str, dict[str, dict[str, float]]] = {}
    for title, kind in SETS.items():
        frozen = frozen_network(args)
        networks = {"frozen": frozen, **{p.name: load(p) for p in trained}}
        smoothed = {p.name: "{0}, smoothed-{2}".format(*p.name.rpartition("-")) for p in trained}
        states = {n: Binned(22) for n in (*(f"frozen {n}" for n in frozen.scorers), *smoothed, *smoothed.values())}
        data = spread_over(open_dataset(f"{kind}:{args.data}/anomaly/{title}", "val", frozen.labels), args.most)
        for image, target in track(pairs(data), title, len(data)):
            output = frozen.forward(image)
            for name, score in frozen.assess(output, target.shape, tuple(frozen.scorers)).scores.items():
                states[f"frozen {name}"].update(score, target)
            for path in trained:
                kb = networks[path.name]
                score = kb.assess(kb.forward(image), target.shape, ("rpl",)).scores["rpl"]
                states[path.name].update(score, target)
                states[smoothed[path.name]].update(gaussian(torch.from_numpy(score)).numpy(), target)
        found[title] = {name: asdict(state.compute()) for name, state in states.items()}
        widest = max(high - low for m in found[title].values() for low, high in m["bounds"].values())
        print(f"{title}: every metric is known to within {widest:.1e}")
    write_whole(runs / "measured.json", json.dumps(found, indent=1).encode())


def table(args: argparse.Namespace) -> None:
    """Print AP, AUROC and FPR95 on both sets, mean ± standard deviation over the seeds."""
    found = json.loads((args.measured or runs_of(args) / "measured.json").read_text())
    rows: dict[str, list[str]] = {}
    for name in next(iter(found.values())):
        key = name if name.startswith("frozen") else name.rpartition("-")[0]
        rows.setdefault(key, []).append(name)
    cells = [
        (key, *(spread([found[s][n][f] for n in names]) for s in SETS for f in ("auroc", "ap", "fpr95")))
        for key, names in rows.items()
    ]
    header = ("score", *(f"{s.split('_')[-2] if '_' in s else s} {f}" for s in SETS for f in ("AUROC", "AP", "FPR95")))
    markdown("Outliers, pixels pooled", header, cells)


def overlap(args: argparse.Namespace) -> None:
    """Print which categories of outliers resemble the anomalies (see ``owseg.evaluation.outlier_audit``)."""
    kb = frozen_network(args)
    engine = backbone_engine(kb, from_pretrained(str(args.backbone)))
    objects, _ = exposed(args.data, kb, [])
    for title, kind in SETS.items():
        found = audit(objects, open_dataset(f"{kind}:{args.data}/anomaly/{title}", "val", kb.labels), engine)
        markdown(title, ("category", "anomalies", "pixels", "similarity"), summary(found))
        print(f"precision at 1: {found.precision_at_1:.2f}; leave out:", " ".join(repr(c) for c in found.overlapping))


def sheet(args: argparse.Namespace) -> None:
    """Draw a contact sheet of images with outliers pasted into them, and of their targets."""
    if args.synthetic:
        data, objects = open_dataset("synthetic", "train"), synthetic_outliers()
    else:
        kb = frozen_network(args)
        data, (objects, _) = inlier_images(args.data / "camvid", "train", kb), exposed(args.data, kb, args.leave_out)
    tiles = []
    for i in range(0, len(data), len(data) // 8):
        sample = pasted(data[i], objects, ResidualConfig(), np.random.default_rng([0, i]))
        image = sample.image.transpose(1, 2, 0)
        marked = np.where((sample.target == UNKNOWN)[..., None], (255, 0, 200), image // 2).astype(np.uint8)
        tiles.append(np.concatenate([image, marked], 1))
    rows = [np.concatenate(tiles[i : i + 2], 1) for i in range(0, 8, 2)]
    args.runs.mkdir(parents=True, exist_ok=True)
    page = Image.fromarray(np.concatenate(rows))
    page.reduce(max(1, page.width // 1000)).save(args.runs / "sheet.jpg", quality=88)
    print(args.runs / "sheet.jpg")


def synthetic_outliers() -> Outliers:
    """Return the objects in synthetic test scenes whose class the shipped network does not know, each cut out."""
    source = open_dataset("synthetic", "test").source
    known = load("synthetic").labels
    found = [
        (i, n) for i in range(len(source.ids)) for ids in (np.unique(source.read(i)[1]),)
        for n in source.classes.names if n not in known and source.classes.index(n) in ids
    ]  # fmt: skip

    def read(k: int) -> Outlier:
        image, ids = source.read(found[k][0])
        return Outlier(image, ids == source.classes.index(found[k][1]), source.ids[found[k][0]])

    ids, categories = tuple(f"{n}_{i}" for i, n in found), tuple(frozenset({n}) for _, n in found)
    return Outliers("synthetic objects", ids, categories, read)


def main() -> None:
    place = Path(os.environ.get("OWSEG_DATA", "."))
    steps: dict[str, Callable[[argparse.Namespace], None]] = {
        "train": train, "measure": measure, "table": table, "audit": overlap, "sheet": sheet,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=steps)
    parser.add_argument("--network", default="espnetv2-cityscapes", help="published, or one that ships")
    parser.add_argument("--weights", type=Path, default=Path("espnetv2_s2.0_cityscapes"))
    parser.add_argument("--place", default=ResidualConfig.place, choices=PLACES, help="where the residual is added")
    parser.add_argument("--without", nargs="*", choices=WITHOUT, default=[], help="which terms to leave out")
    parser.add_argument("--leave-out", nargs="*", default=[], help="categories of outliers to leave out")
    parser.add_argument("--suffix", default="", help="added to the name, for another set of outliers")
    parser.add_argument("--backbone", default="google/mobilenet_v2_1.0_224", help="audit: what compares appearances")
    parser.add_argument("--synthetic", action="store_true", help="sheet: of synthetic scenes")
    parser.add_argument("--most", type=int, default=100, help="measure: at most so many images of a set, evenly spread")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--data", type=Path, default=place)
    parser.add_argument("--runs", type=Path, default=Path("runs/outliers"))
    parser.add_argument("--measured", type=Path, help="table: the file of metrics, by default that of --runs")
    args = parser.parse_args()
    steps[args.step](args)


if __name__ == "__main__":
    main()
