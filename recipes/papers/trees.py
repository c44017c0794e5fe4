"""Tiny trees in the layouts of the data sets that the papers' tables are on: blocks of colours, a class each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (64, 96)
"""Height and width of an image, in pixels; a block has 16."""

CITYSCAPES = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The ids of Cityscapes' 19 classes in labelIds."""

CAR, TRUCK, BUS = 26, 27, 28
TRAIN, VAL, TEST = 8, 4, 2
"""How many images the splits have."""


def draw(image: Path, mask: Path, values: Sequence[int], seed: int, anomaly: int | None = None) -> None:
    """Write an image and its mask, blocks of ``values``, with an object of the value ``anomaly`` where that is given.

    Of many values, each image shows a part, so that all are in any four images in a row.
    """
    rng = np.random.default_rng(seed)
    count = (SIZE[0] // 16) * (SIZE[1] // 16)
    shown = np.resize(np.roll(np.array(values), -seed * count // 2), count)
    raw = np.kron(rng.permutation(shown).reshape(SIZE[0] // 16, SIZE[1] // 16), np.ones((16, 16), int))
    if anomaly is not None:
        raw[20:44, 30:66] = anomaly
    colours = np.random.default_rng(5).integers(0, 256, (256, 3))
    pixels = np.clip(colours[raw] + rng.integers(-20, 20, (*SIZE, 3)), 0, 255)
    for path, content in ((image, pixels), (mask, raw)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(content.astype(np.uint8)).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))


def streethazards(root: Path) -> None:
    for part, split, town, count in (("train", "training", "t1", TRAIN), ("train", "validation", "t4", VAL),
                                     ("test", "test", "t5", TEST)):  # fmt: skip
        for i in range(count):
            image, mask = (root / part / kind / split / town / f"{i}.png" for kind in ("images", "annotations"))
            draw(image, mask, range(1, 14), i, 14 if part == "test" else None)


def cityscapes(root: Path) -> None:
    """Every image shows the three classes that are learned later."""
    for split, city, count in (("train", "aachen", TRAIN), ("val", "lindau", VAL)):
        for i in range(count):
            name = f"{split}/{city}/{city}_{i:06d}_000019"
            image, mask = root / f"leftImg8bit/{name}_leftImg8bit.png", root / f"gtFine/{name}_gtFine_labelIds.png"
            draw(image, mask, CITYSCAPES, i, (CAR, TRUCK, BUS)[i % 3])


def camvid(root: Path) -> None:
    for split, count in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        for i in range(count):
            draw(root / f"{split}/{split}{i}.png", root / f"{split}annot/{split}{i}.png", range(11), i)


def bdd100k(root: Path) -> None:
    for split, count in (("train", TRAIN), ("val", VAL)):
        for i in range(count):
            draw(root / f"images/10k/{split}/{i}.jpg", root / f"labels/sem_seg/masks/{split}/{i}.png", range(19), i)


def lostandfound(root: Path) -> None:
    """The last frames of two sequences, and the region of interest."""
    scene = "02_Hanns_Klemm_Str_44"
    for i in range(TEST):
        name = f"test/{scene}/{scene}_{i:06d}_000010"
        draw(root / f"leftImg8bit/{name}_leftImg8bit.png", root / f"gtCoarse/{name}_gtCoarse_labelIds.png", [1], i, 2)
    Image.fromarray(np.full(SIZE, 255, np.uint8)).save(root / "LAF_roi.png")


def roadanomaly(root: Path) -> None:
    for i in range(TEST):
        draw(root / f"frames/a{i}.jpg", root / f"frames/a{i}.labels/labels_semantic.png", [0], i, 2)


def collected(root: Path) -> None:
    """As collections of anomaly sets have Fishyscapes' and SegmentMeIfYouCan's validation images."""
    for i in range(TEST):
        draw(root / f"images/{i}.png", root / f"labels_masks/{i}.png", [0], i, 1)


def outliers(root: Path) -> None:
    """Objects where they were photographed, as COCO's would be after their masks are drawn."""
    for i in range(8):
        draw(root / f"images/{i}.png", root / f"masks/{i}.png", [0], 20 + i, 1)


TREES: dict[str, Callable[[Path], None]] = {
    "STREETHAZARDS": streethazards,
    "CITYSCAPES": cityscapes,
    "BDD100K": bdd100k,
    "CAMVID": camvid,
    "LOSTANDFOUND": lostandfound,
    "ROADANOMALY": roadanomaly,
    "FS_LOSTFOUND": collected,
    "FS_STATIC": collected,
    "ROADANOMALY21": collected,
    "ROADOBSTACLE21": collected,
    "OUTLIERS": outliers,
    "OUTLIER_OBJECTS": outliers,
    "COCO_CONTEXT": outliers,
}
"""By the variable that names the folder in a recipe, what writes a tiny one."""


def write_trees(names: Sequence[str], root: Path) -> dict[str, str]:
    """Write the trees ``names`` below ``root`` and return the folder of each."""
    for name in names:
        TREES[name](root / name)
    return {name: str(root / name) for name in names}
