"""Lost and Found (Pinggera et al., IROS 2016): small obstacles on the road, in Cityscapes' layout with ``gtCoarse``.

Only free space and obstacles are labelled; everything else in the image is void, so that nothing but the road is
evaluated. The ``labelIds`` are read: 0 void, 1 free space, 2 to 43 kinds of obstacles. As in SegmentMeIfYouCan's tool
every id above 1 is an obstacle. The authors' own ``labelTrainIds``, which are read where the others are missing, leave
out seven that are no hazard (31, 33, 34 and 36 to 39: flat wood, posts).

The protocol of DUIR (Lis et al., ICCV 2019, "Detecting the Unexpected via Image Resynthesis"), whose AUROC DMLNet's
tables quote, is another: of each sequence of test the last frame alone, where the obstacle is nearest, and every pixel
inside the region of interest counts, labelled or not. That region, which leaves out the car itself and the border of
rectification, is Cityscapes'; it is no part of Lost and Found and is read from a file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from owseg._registry import Card
from owseg.data.dataset import Source
from owseg.data.datasets._layout import find_frames, find_masks, only_split, paired, read_ids, split_folder
from owseg.data.images import read_mask
from owseg.errors import OwsegError
from owseg.labels import IGNORE, KNOWN, LabelSpace

CLASSES = LabelSpace.of(["obstacle"], [(255, 0, 200)])


LABEL_IDS = {0: IGNORE, 1: KNOWN, **dict.fromkeys(range(2, 44), 0)}


TRAIN_IDS = {0: IGNORE, 1: KNOWN, 2: 0, IGNORE: IGNORE}


SPLITS = {"train": "leftImg8bit/train", "test": "leftImg8bit/test", "test-no-known": "leftImg8bit/test"}


REGIONS = ("LAF_roi.png", "cityscapes/roi.png", "roi.png")
"""Names that Cityscapes' region of interest has in the authors' folders; a binary mask."""


KNOWN_OBSTACLES = (
    "15_Rechbergstr_Deckenpfronn", "01_Hanns_Klemm_Str_45_000006", "01_Hanns_Klemm_Str_45_000007",
    "10_Schlossberg_9_000004",
)  # fmt: skip
"""Sequences whose obstacles are of known classes (children, bicycles): left out of SegmentMeIfYouCan's testNoKnown."""


def lostandfound(root: Path, split: str) -> Source:
    """Open train, test or test-no-known, which is test without the sequences of ``KNOWN_OBSTACLES``.

    Raises ``OwsegError`` for another layout, an image without its mask and an id above 43.
    """
    frames = find_frames(split_folder(root, split, SPLITS), "_leftImg8bit", "*/*")
    if split == "test-no-known":
        # File names begin with the scene and the number of the sequence in it.
        frames = {k: p for k, p in frames.items() if not p.name.startswith(KNOWN_OBSTACLES)}
    folder = root / SPLITS[split].replace("leftImg8bit", "gtCoarse")
    masks = find_masks(frames, folder, *(f"_gtCoarse_label{kind}.png" for kind in ("Ids", "TrainIds")))
    return paired(f"lostandfound:{split}", CLASSES, frames, masks, _read)


def last_frames(root: Path, split: str) -> Source:
    """Open the last frame of each sequence of test; inside the region of interest all but obstacles is known.

    The region is ``LAF_roi.png``, ``cityscapes/roi.png`` or ``roi.png`` in ``root``: 0 outside, any other value inside,
    as large as the masks. As in the authors' code, frames whose ``labelIds`` are all 0 are left out before the last one
    is taken. Raises ``OwsegError`` for another layout, an image without its mask, an id above 43, no region, or one of
    another size.
    """
    only_split(root, split, "test")
    frames = find_frames(split_folder(root, split, {"test": SPLITS["test"]}), "_leftImg8bit", "*/*")
    masks = find_masks(frames, root / "gtCoarse" / "test", "_gtCoarse_labelIds.png")
    region = next((path for name in REGIONS if (path := root / name).is_file()), None)
    if region is None:
        raise OwsegError(
            f"{root} has no {REGIONS[0]}: add Cityscapes' region of interest, an image of the masks' size that is 0 "
            "outside of it (the car, the border of rectification) and not 0 inside."
        )
    sequences: dict[str, list[str]] = {}
    for key in frames:  # in the order of time: SCENE/SCENE_SEQUENCE_TIME, with leading zeros
        sequences.setdefault(key.rpartition("_")[0], []).append(key)
    last = (next((k for k in reversed(keys) if read_mask(masks[k]).any()), None) for keys in sequences.values())
    kept = {key: frames[key] for key in last if key is not None}
    inside = read_mask(region) > 0

    def decode(path: Path) -> np.ndarray:
        ids = read_ids(path, {**LABEL_IDS, 0: KNOWN})
        if ids.shape != inside.shape:
            raise OwsegError(f"{region} is {_size(inside)}, but {path} is {_size(ids)}; they must be of one size.")
        target: np.ndarray = np.where(inside, ids, IGNORE).astype(np.uint8)
        return target

    return paired("lostandfound-last:test", CLASSES, kept, masks, decode)


def _size(mask: np.ndarray) -> str:
    return f"{mask.shape[1]}x{mask.shape[0]}"


def _read(path: Path) -> np.ndarray:
    return read_ids(path, TRAIN_IDS if path.stem.endswith("TrainIds") else LABEL_IDS)


CARDS = (
    Card(
        "lostandfound",
        "Lost and Found, obstacles on the road",
        make=lostandfound,
        source="6d-vision.com/lostandfounddataset",
        facts={
            "classes": "free space is known, obstacle is not",
            "layout": ("leftImg8bit/SPLIT/SCENE/*_leftImg8bit.png, gtCoarse/SPLIT/SCENE/*_gtCoarse_labelIds.png"),
            "splits": ("train", "test", "test-no-known"),
            "licence": "research, not commercial",
        },
    ),
    Card(
        "lostandfound-last",
        "Lost and Found, last frames, as DUIR and DMLNet's tables have it",
        make=last_frames,
        source="6d-vision.com/lostandfounddataset",
        facts={
            "classes": "obstacle is unknown, all else in the region of interest is known",
            "layout": "that of lostandfound, with Cityscapes' region of interest as LAF_roi.png",
            "splits": ("test",),
            "licence": "research, not commercial",
        },
    ),
)
