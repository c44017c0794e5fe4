"""CamVid's own 32 classes: ``701_StillsRaw_full/NAME.png``, ``LabeledApproved_full/NAME_L.png`` in colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from owseg._files import read_at_most
from owseg._registry import Card
from owseg.data.dataset import Source
from owseg.data.datasets._layout import find_frames, find_masks, paired, split_folder
from owseg.data.images import read_image
from owseg.errors import NoSuchSplit, OwsegError
from owseg.labels import IGNORE, Color, LabelSpace

COLORS: dict[str, Color] = {
    "Animal": (64, 128, 64), "Archway": (192, 0, 128), "Bicyclist": (0, 128, 192), "Bridge": (0, 128, 64),
    "Building": (128, 0, 0), "Car": (64, 0, 128), "CartLuggagePram": (64, 0, 192), "Child": (192, 128, 64),
    "Column_Pole": (192, 192, 128), "Fence": (64, 64, 128), "LaneMkgsDriv": (128, 0, 192),
    "LaneMkgsNonDriv": (192, 0, 64), "Misc_Text": (128, 128, 64), "MotorcycleScooter": (192, 0, 192),
    "OtherMoving": (128, 64, 64), "ParkingBlock": (64, 192, 128), "Pedestrian": (64, 64, 0), "Road": (128, 64, 128),
    "RoadShoulder": (128, 128, 192), "Sidewalk": (0, 0, 192), "SignSymbol": (192, 128, 128), "Sky": (128, 128, 128),
    "SUVPickupTruck": (64, 128, 192), "TrafficCone": (0, 0, 64), "TrafficLight": (0, 64, 64), "Train": (192, 64, 128),
    "Tree": (128, 128, 0), "Truck_Bus": (192, 128, 192), "Tunnel": (64, 0, 64), "VegetationMisc": (192, 192, 0),
    "Wall": (64, 192, 0),
}  # fmt: skip
"""Names and colours of ``label_colors.txt`` (Brostow et al., 2009), less Void, which is black and no class here."""


CLASSES = LabelSpace.of(COLORS, COLORS.values())


SPLITS = ("train", "val", "test")


def camvid32(root: Path, split: str) -> Source:
    """Open a split of CamVid with its 31 classes and void.

    If ``root`` has a file ``{split}.txt``, it lists the split's frames, one name or path a line; otherwise the splits
    are those of SegNet (see ``split_of``). Raises ``OwsegError`` for missing folders and files, and for undefined
    colours.
    """
    frames = find_frames(split_folder(root, SPLITS[0], {SPLITS[0]: "701_StillsRaw_full"}))
    if split not in SPLITS and not (root / f"{split}.txt").is_file():
        raise NoSuchSplit.of(root, split, SPLITS)
    names = _listed(root / f"{split}.txt") if (root / f"{split}.txt").is_file() else None
    if names is None:
        names = [name for name in frames if split_of(name) == split]
    if not names:
        raise NoSuchSplit(f"{root / '701_StillsRaw_full'} holds no frame of the split {split!r}.")
    if missing := [name for name in names if name not in frames]:
        raise OwsegError(f"{root / f'{split}.txt'} names {missing[0]}, which is not in {root / '701_StillsRaw_full'}.")
    kept = {name: frames[name] for name in names}
    masks = find_masks(kept, root / "LabeledApproved_full", "_L.png")
    return paired(f"camvid32:{split}", CLASSES, kept, masks, read_colors)


def split_of(name: str) -> str:
    """Return the split of the frame ``name`` in SegNet's lists, which follow a rule on sequence and frame number.

    Test is sequence Seq05VD, and 0001TP from frame 8550; val is 0016E5 from 7959 to 8159; train is the rest. They have
    233, 101 and 367 of the 701 frames.
    """
    sequence, _, number = name.partition("_")
    # Numbers are written as 006690 or, in two sequences, as f00930; other names are of no sequence, and train.
    frame = int(digits) if (digits := number.lstrip("f")).isdecimal() else -1
    if sequence == "Seq05VD" or (sequence == "0001TP" and frame >= 8550):
        return "test"
    return "val" if sequence == "0016E5" and 7959 <= frame <= 8159 else "train"


def read_colors(path: Path) -> np.ndarray:
    """Read a mask in class colours as (H, W) uint8 ids; raise ``OwsegError`` for a colour that no class has."""
    red, green, blue = read_image(path, upright=False).astype(np.uint32)
    code = red << 16 | green << 8 | blue  # one number a colour, so that all pixels are found in one sorted search
    known = np.array([r << 16 | g << 8 | b for r, g, b in ((0, 0, 0), *CLASSES.colors)], np.uint32)
    order = np.argsort(known)
    at = order[np.searchsorted(known, code, sorter=order).clip(max=len(known) - 1)]
    if (wrong := known[at] != code).any():
        undefined = int(code[wrong][0])
        color = (undefined >> 16, undefined >> 8 & 255, undefined & 255)
        raise OwsegError(f"{path} holds the colour {color}, which is none of CamVid's; take the mask as published.")
    ids: np.ndarray = np.array([IGNORE, *range(len(CLASSES))], np.uint8)[at]
    return ids


def _listed(path: Path) -> list[str]:
    """Return the frames that a list names: the first word of each line, without folders, suffix and ``_L``."""
    # SegNet's own lists have the path of the image and that of its mask in each line.
    words = [line.split()[0] for line in read_at_most(path).decode(errors="replace").splitlines() if line.strip()]
    return [Path(word).stem.removesuffix("_L") for word in words]


CARDS = (
    Card(
        "camvid32",
        "CamVid, 701 frames, 960x720",
        make=camvid32,
        source="mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid",
        facts={
            "classes": "31 and void",
            "layout": (
                "701_StillsRaw_full/NAME.png, LabeledApproved_full/NAME_L.png (colours); SPLIT.txt for other splits"
            ),
            "splits": ("train", "val", "test"),
            "licence": "research",
        },
    ),
)
