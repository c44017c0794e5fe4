"""Lost and Found (Pinggera et al., IROS 2016): small obstacles on the road, in Cityscapes' layout with ``gtCoarse``.

Only free space and obstacles are labelled; everything else in the image is void, so that nothing but the road is
evaluated. The ``labelIds`` are read: 0 void, 1 free space, 2 to 43 kinds of obstacles. As in SegmentMeIfYouCan's tool
every id above 1 is an obstacle. The authors' own ``labelTrainIds``, which are read where the others are missing, leave
out seven that are no hazard (31, 33, 34 and 36 to 39: flat wood, posts).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from owseg._registry import Card
from owseg.data.dataset import Source
from owseg.data.datasets._layout import find_frames, find_masks, paired, read_ids, split_folder
from owseg.labels import IGNORE, KNOWN, LabelSpace

CLASSES = LabelSpace.of(["obstacle"], [(255, 0, 200)])


LABEL_IDS = {0: IGNORE, 1: KNOWN, **dict.fromkeys(range(2, 44), 0)}


TRAIN_IDS = {0: IGNORE, 1: KNOWN, 2: 0, IGNORE: IGNORE}


SPLITS = {"train": "leftImg8bit/train", "test": "leftImg8bit/test", "test-no-known": "leftImg8bit/test"}


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
)
