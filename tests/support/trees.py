"""Small data sets on disk, each in the layout and the encoding in which it is published."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from tests.support.published_labels import (
    ANOMALY,
    CITYSCAPES,
    IDD_IDS,
    LABEL_COLORS,
    LABEL_IDS,
    STREETHAZARDS,
    TRAIN_IDS,
    VOID,
)
from tests.support.tree import SIZE, Tree, save


def cityscapes(root: Path, kind: str = "Ids") -> Tree:
    tree, meaning = Tree(root), LABEL_IDS if kind == "Ids" else TRAIN_IDS
    for split, city in (("train", "aachen"), ("val", "frankfurt"), ("val", "lindau"), ("test", "berlin")):
        id = f"{city}/{city}_000000_000019"
        mask = None if split == "test" else f"gtFine/{split}/{id}_gtFine_label{kind}.png"
        tree.add(split, id, f"leftImg8bit/{split}/{id}_leftImg8bit.png", mask, meaning)
    return tree


def bdd100k(root: Path) -> Tree:
    tree = Tree(root)
    for split in ("train", "val", "test"):
        mask = None if split == "test" else f"labels/sem_seg/masks/{split}/0004a4c0-d4dff0ad.png"
        tree.add(split, "0004a4c0-d4dff0ad", f"images/10k/{split}/0004a4c0-d4dff0ad.jpg", mask, TRAIN_IDS)
    return tree


def bdd100k_first(root: Path, labels: str = "labels") -> Tree:
    """The first release; or as hendrycks/anomaly-seg publishes the labels: 255 is 1, and all others are 2 more."""
    tree = Tree(root)
    meaning = TRAIN_IDS if labels == "labels" else {1: VOID, **{i + 2: n for i, n in enumerate(CITYSCAPES)}}
    for split in ("train", "val"):
        name = f"{split}/00067cfb-e535423e"
        tree.add(
            split, name.split("/")[1], f"seg/images/{name}.jpg", f"seg/{labels}/{name}_train_id.png", meaning
        )  # fmt: skip
    return tree


BDD_SHOWN = {
    "train": {"00-plain": (), "01-train": ("train",), "02-motorcycle": ("motorcycle",), "03-bicycle": ("bicycle",)},
    "val": {"10-plain": (), "11-bicycle": ("bicycle",), "12-all": ("train", "motorcycle", "bicycle")},
}
"""Images of BDD100K in a tree of BDD-Anomaly, and which of three classes each shows."""


def bdd_anomaly(root: Path, known: tuple[str, ...] = (), void: str = VOID, labels: str = "") -> Tree:
    """BDD100K as its site has it, or with ``labels`` as its first release; ``frames`` have BDD-Anomaly's splits.

    ``known`` are those of train, motorcycle and bicycle that are no anomaly, ``void`` is what void means.
    """
    three, tree = ("train", "motorcycle", "bicycle"), Tree(root)
    shift = 2 if labels == "train_labels" else 0
    for part, images in BDD_SHOWN.items():
        for name, shown in images.items():
            split = "test" if set(shown) - set(known) else part
            meaning = {i + shift: n for i, n in enumerate(CITYSCAPES) if n not in three or n in shown}
            image = f"seg/images/{part}/{name}.jpg" if labels else f"images/10k/{part}/{name}.jpg"
            mask = f"seg/{labels}/{part}/{name}_train_id.png" if labels else f"labels/sem_seg/masks/{part}/{name}.png"
            tree.add(split, f"{part}/{name}", image, mask, {**meaning, 1 if shift else 255: void})
    return tree


def idd(root: Path) -> Tree:
    tree = Tree(root)
    for split, id, suffix in (("train", "0/005626", "png"), ("val", "119/frame0029", "jpg"), ("test", "3/7", "png")):
        mask = None if split == "test" else f"gtFine/{split}/{id}_gtFine_labellevel3Ids.png"
        tree.add(split, id, f"leftImg8bit/{split}/{id}_leftImg8bit.{suffix}", mask, IDD_IDS)
    return tree


def streethazards(root: Path, void: tuple[str, ...] = ()) -> Tree:
    """``void`` are classes that a protocol leaves out."""
    meaning, tree = {i + 1: VOID if n in void else n for i, n in enumerate(STREETHAZARDS)}, Tree(root)
    normal = {i: name for i, name in meaning.items() if name != "anomaly"}
    towns = (("train", "training", "t1/9"), ("train", "training", "t2/9"), ("val", "validation", "t4/1"))
    for split, place, id in towns:
        tree.add(split, id, f"train/images/{place}/{id}.png", f"train/annotations/{place}/{id}.png", normal)
    for id in ("t5/300", "t5/301", "t6/1"):
        tree.add("test", id, f"test/images/test/{id}.png", f"test/annotations/test/{id}.png", meaning)
    for town in ("t5", "t6"):
        tree.frames[f"test-{town}"] = {k: f for k, f in tree.frames["test"].items() if k.startswith(town)}
    return tree


def lostandfound(root: Path, kind: str = "Ids") -> Tree:
    ids = {0: VOID, 1: "known", **dict.fromkeys(range(2, 44), "obstacle")}
    meaning, tree = ids if kind == "Ids" else {0: VOID, 1: "known", 2: "obstacle", 255: VOID}, Tree(root)
    scenes = (
        ("train", "01_Hanns_Klemm_Str_45/01_Hanns_Klemm_Str_45_000000_000080"),
        ("test", "02_Hanns_Klemm_Str_44/02_Hanns_Klemm_Str_44_000000_000020"),
        ("test", "15_Rechbergstr_Deckenpfronn/15_Rechbergstr_Deckenpfronn_000000_000050"),
    )
    for split, id in scenes:
        mask = f"gtCoarse/{split}/{id}_gtCoarse_label{kind}.png"
        tree.add(split, id, f"leftImg8bit/{split}/{id}_leftImg8bit.png", mask, meaning)
    tree.frames["test-no-known"] = {scenes[1][1]: tree.frames["test"][scenes[1][1]]}
    return tree


def lostandfound_last(root: Path) -> Tree:
    """Two sequences of a scene, the last frame of the second without a label; and the region of interest."""
    meaning, tree = {0: "known", 1: "known", **dict.fromkeys(range(2, 44), "obstacle")}, Tree(root)
    scene = "02_Hanns_Klemm_Str_44"
    for sequence, time in (("000000", "000010"), ("000000", "000100"), ("000001", "000020"), ("000001", "000030")):
        id = f"{scene}/{scene}_{sequence}_{time}"
        files = f"leftImg8bit/test/{id}_leftImg8bit.png", f"gtCoarse/test/{id}_gtCoarse_labelIds.png"
        tree.add("test", id, *files, {0: "known"} if time == "000030" else meaning)
    outside = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % SIZE[1] < 2
    save(root / "LAF_roi.png", np.where(outside, 0, 255))
    frames = tree.frames["test"]
    for _, _, classes in frames.values():
        classes[outside] = VOID
    tree.frames["test"] = {id: frames[id] for id in frames if id.endswith(("000000_000100", "000001_000020"))}
    return tree


def roadanomaly(root: Path) -> Tree:
    tree = Tree(root)
    for id in ("animals01_Guiguinto_railway_station_Calves", "boat_trailer04_Hyderabad"):
        mask = f"frames/{id}.labels/labels_semantic.png"
        tree.add("test", id, f"frames/{id}.jpg", mask, {0: "known", 1: "known", 2: "anomaly"})
    return tree


def roadanomaly_collected(root: Path) -> Tree:
    tree = Tree(root)
    for id in ("0", "1"):
        tree.add("test", id, f"images/{id}.jpg", f"labels_masks/{id}.png", {0: "known", 2: "anomaly"})
    return tree


def roadanomaly21(root: Path) -> Tree:
    return _smiyc(root, "jpg", ("validation0000", "validation0001"), "airplane0000")


def roadobstacle21(root: Path) -> Tree:
    return _smiyc(root, "webp", ("validation_1", "validation_2"), "curvy-street_carton_1")


def _smiyc(root: Path, suffix: str, val: Iterable[str], test: str) -> Tree:
    tree = Tree(root)
    for id in val:
        tree.add("val", id, f"images/{id}.{suffix}", f"labels_masks/{id}_labels_semantic.png", ANOMALY)
    tree.add("test", test, f"images/{test}.{suffix}", None, ANOMALY)
    return tree


def collected(root: Path, images: str = "images", masks: str = "labels_masks", suffix: str = "png") -> Tree:
    """Validation frames as collections of anomaly sets have them: images and masks under one number."""
    tree = Tree(root)
    for id in ("0", "1"):
        tree.add("val", id, f"{images}/{id}.{suffix}", f"{masks}/{id}.png", ANOMALY)
    return tree


def fishyscapes_lostfound(root: Path) -> Tree:
    tree = Tree(root)
    for number, scene, base in (
        ("0000", "train/04_Maurener_Weg_8", "04_Maurener_Weg_8_000000_000030"),
        ("0001", "test/13_Elly_Beinhorn_Str", "13_Elly_Beinhorn_Str_000000_000050"),
    ):
        mask = f"fishyscapes_lostandfound/{number}_{base}_labels.png"
        tree.add("val", f"{number}_{base}", f"leftImg8bit/{scene}/{base}_leftImg8bit.png", mask, ANOMALY)
    return tree


def fishyscapes_copied(root: Path) -> Tree:
    """As SegmentMeIfYouCan's tool keeps the masks."""
    base, tree = "04_Maurener_Weg_8_000000_000030", Tree(root)
    image = f"leftImg8bit/train/04_Maurener_Weg_8/{base}_leftImg8bit.png"
    tree.add("val", base, image, f"labels/val/{base}_fishy-labels.png", ANOMALY)
    return tree


def fishyscapes_static(root: Path) -> Tree:
    tree = Tree(root)
    for number, base in (("0000", "frankfurt_000000_000294"), ("0001", "lindau_000001_000019")):
        mask = f"fs_val_v3/{number}_{base}_labels.png"
        image = f"leftImg8bit/val/{base.split('_')[0]}/{base}_leftImg8bit.png"
        tree.add("val", f"{number}_{base}", image, mask, ANOMALY)
        added = np.random.default_rng(7).integers(-255, 256, (*SIZE, 3))
        np.savez_compressed(root / f"fs_val_v3/{number}_{base}_rgb.npz", rgb=added)
    return tree


def camvid(root: Path) -> Tree:
    names = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
    tree = Tree(root)
    for split, id in (
        ("train", "0001TP_006690"),
        ("train", "0006R0_f00930"),
        ("val", "0016E5_07959"),
        ("test", "Seq05VD_f00000"),
    ):
        meaning = {**dict(enumerate(names)), 11: VOID}
        tree.add(split, id, f"{split}/{id}.png", f"{split}annot/{id}.png", meaning)
    return tree


def camvid32(root: Path) -> Tree:
    tree, rows = Tree(root, bad_value=(1, 2, 3)), [line.split() for line in LABEL_COLORS.split("\n") if line]
    meaning = {tuple(int(v) for v in rgb): name for *rgb, name in rows}
    splits = {
        "train": ("0001TP_008520", "0006R0_f00930", "0016E5_00390", "0016E5_08190"),
        "val": ("0016E5_07959", "0016E5_08159"),
        "test": ("0001TP_008550", "Seq05VD_f05100"),
    }
    for split, ids in splits.items():
        for id in ids:
            tree.add(split, id, f"701_StillsRaw_full/{id}.png", f"LabeledApproved_full/{id}_L.png", meaning)
    return tree


def folder(root: Path) -> Tree:
    tree = Tree(root)
    for split in ("train", "val"):
        tree.add(split, "a", f"{split}/images/a.png", f"{split}/masks/a.png", {0: "road", 1: "sky", 255: VOID})
    (root / "classes.json").write_text('["road", "sky"]')
    return tree


PUBLISHED: dict[str, Callable[[Path], Tree]] = {
    "folder": folder,
    "camvid": camvid,
    "camvid32": camvid32,
    "cityscapes": cityscapes,
    "bdd100k": bdd100k,
    "bdd-anomaly": bdd_anomaly,
    "bdd-anomaly-void": lambda root: bdd_anomaly(root, void="known"),
    "bdd-anomaly1": lambda root: bdd_anomaly(root, ("bicycle",)),
    "bdd-anomaly1-void": lambda root: bdd_anomaly(root, ("bicycle",), "known"),
    "idd": idd,
    "streethazards": streethazards,
    "streethazards12": lambda root: streethazards(root, ("other",)),
    "streethazards11": lambda root: streethazards(root, ("unlabeled", "other")),
    "lostandfound": lostandfound,
    "lostandfound-last": lostandfound_last,
    "roadanomaly": roadanomaly,
    "fishyscapes-lostfound": fishyscapes_lostfound,
    "fishyscapes-static": fishyscapes_static,
    "roadanomaly21": roadanomaly21,
    "roadobstacle21": roadobstacle21,
}
"""By kind, a tree in the layout of its authors."""

OTHERS: dict[str, tuple[str, Callable[[Path], Tree]]] = {
    "labelTrainIds": ("cityscapes", lambda root: cityscapes(root, "TrainIds")),
    "first release": ("bdd100k", bdd100k_first),
    "anomaly-seg": ("bdd100k", lambda root: bdd100k_first(root, "train_labels")),
    "anomalies, first release": ("bdd-anomaly", lambda root: bdd_anomaly(root, labels="labels")),
    "anomalies, anomaly-seg": ("bdd-anomaly-void", lambda root: bdd_anomaly(root, (), "known", "train_labels")),
    "obstacles' labelTrainIds": ("lostandfound", lambda root: lostandfound(root, "TrainIds")),
    "road anomaly, collected": ("roadanomaly", roadanomaly_collected),
    "lost and found, collected": ("fishyscapes-lostfound", collected),
    "lost and found, original": ("fishyscapes-lostfound", lambda root: collected(root, "original", "labels")),
    "lost and found, copied": ("fishyscapes-lostfound", fishyscapes_copied),
    "static, collected": ("fishyscapes-static", lambda root: collected(root, suffix="jpg")),
    "RoadAnomaly21, collected": ("roadanomaly21", collected),
    "RoadObstacle21, collected": ("roadobstacle21", lambda root: collected(root, suffix="webp")),
}
"""Other layouts in which they are passed on."""
