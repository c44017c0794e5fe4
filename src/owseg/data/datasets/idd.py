"""India Driving Dataset, segmentation (Varma et al., WACV 2019), at level 3 of its hierarchy: 26 classes.

The archive has polygons; the authors' createLabels.py (AutoNUE/public-code, ``--id-type level3Id``) makes the masks
``*_gtFine_labellevel3Ids.png`` of them, which are read here. Some level-3 ids join several classes; they are named
after all of these, or "fallback" where the authors call them so.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from owseg._registry import Card
from owseg.data.dataset import Source
from owseg.data.datasets._layout import find_frames, find_masks, paired, read_ids, split_folder
from owseg.labels import IGNORE, LabelSpace

CLASSES = LabelSpace.of(
    (
        "road", "drivable fallback", "sidewalk", "non-drivable fallback", "person", "rider", "motorcycle", "bicycle",
        "autorickshaw", "car", "truck", "bus", "vehicle fallback", "curb", "wall", "fence", "guard rail", "billboard",
        "traffic sign", "traffic light", "pole", "obstacle fallback", "building", "bridge or tunnel", "vegetation",
        "sky",
    ),
    (
        (128, 64, 128), (81, 0, 81), (244, 35, 232), (152, 251, 152), (220, 20, 60), (255, 0, 0), (0, 0, 230),
        (119, 11, 32), (255, 204, 54), (0, 0, 142), (0, 0, 70), (0, 60, 100), (136, 143, 153), (220, 190, 40),
        (102, 102, 156), (190, 153, 153), (180, 165, 180), (174, 64, 67), (220, 220, 0), (250, 170, 30),
        (153, 153, 153), (169, 187, 214), (70, 70, 70), (150, 100, 100), (107, 142, 35), (70, 130, 180),
    ),
)  # fmt: skip


CODES = {**{i: i for i in range(26)}, IGNORE: IGNORE}


SPLITS = {split: f"leftImg8bit/{split}" for split in ("train", "val", "test")}


def idd(root: Path, split: str) -> Source:
    """Open a split of IDD, ``leftImg8bit/{split}/DRIVE/NAME_leftImg8bit.*``; test has no masks.

    Raises ``OwsegError`` for another layout, an image without its mask and an id above 25.
    """
    frames = find_frames(split_folder(root, split, SPLITS), "_leftImg8bit", "*/*")
    endings = (f"_gtFine_label{level}Ids.png" for level in ("level3", "Level3"))
    masks = find_masks(frames, root / "gtFine" / split, *endings, optional=split == "test")
    return paired(f"idd:{split}", CLASSES, frames, masks, partial(read_ids, codes=CODES))


CARDS = (
    Card(
        "idd",
        "India Driving Dataset, 20k",
        make=idd,
        source="idd.insaan.iiit.ac.in (register)",
        facts={
            "classes": "26 (level 3)",
            "layout": (
                "leftImg8bit/SPLIT/DRIVE/*_leftImg8bit.*, "
                "gtFine/SPLIT/DRIVE/*_gtFine_labellevel3Ids.png (made by the authors' "
                "createLabels.py)"
            ),
            "splits": ("train", "val", "test"),
            "licence": "see its site",
        },
    ),
)
