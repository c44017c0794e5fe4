"""Cityscapes, fine annotations (Cordts et al., CVPR 2016): ``leftImg8bit/{split}/CITY``, ``gtFine/{split}/CITY``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from owseg._registry import Card
from owseg.data.dataset import Source
from owseg.data.datasets._layout import find_frames, find_masks, paired, read_ids, split_folder
from owseg.labels import IGNORE, LabelSpace

CITYSCAPES = LabelSpace.of(
    (
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    (
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
        (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0),
        (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
)  # fmt: skip
"""The 19 classes of its evaluation, in the order of their train ids and in its colours."""


EVALUATED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The ``labelIds`` of the 19 classes; the other ids up to 33 are not evaluated, and are void here."""


LABEL_IDS = {i: EVALUATED.index(i) if i in EVALUATED else IGNORE for i in range(34)}


TRAIN_IDS = {**{i: i for i in range(19)}, IGNORE: IGNORE}


SPLITS = {split: f"leftImg8bit/{split}" for split in ("train", "val", "test")}


def cityscapes(root: Path, split: str) -> Source:
    """Open a split of Cityscapes; ``labelIds`` are read, or where they are missing ``labelTrainIds``.

    Raises ``OwsegError`` for another layout, an image without its mask (except in test, where they are optional) and an
    id that Cityscapes does not use. The masks that are published for test are void throughout.
    """
    frames = find_frames(split_folder(root, split, SPLITS), "_leftImg8bit", "*/*")
    endings = (f"_gtFine_label{kind}.png" for kind in ("Ids", "TrainIds"))
    masks = find_masks(frames, root / "gtFine" / split, *endings, optional=split == "test")
    return paired(f"cityscapes:{split}", CITYSCAPES, frames, masks, _read)


def _read(path: Path) -> np.ndarray:
    return read_ids(path, TRAIN_IDS if path.stem.endswith("TrainIds") else LABEL_IDS)


CARDS = (
    Card(
        "cityscapes",
        "Cityscapes, fine, 5000 frames",
        make=cityscapes,
        source="cityscapes-dataset.com (register)",
        facts={
            "classes": "19",
            "layout": (
                "leftImg8bit/SPLIT/CITY/*_leftImg8bit.png, gtFine/SPLIT/CITY/*_gtFine_labelIds.png (or labelTrainIds)"
            ),
            "splits": ("train", "val", "test"),
            "licence": "research, not commercial",
        },
    ),
)
