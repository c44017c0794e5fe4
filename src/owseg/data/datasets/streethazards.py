"""StreetHazards (Hendrycks et al., ICML 2022): scenes of the simulator CARLA, with anomalies in test alone.

The two archives unpack to ``train/{images,annotations}/{training,validation}/TOWN`` and
``test/{images,annotations}/test/TOWN``. Label maps hold 1 to 14. test has two towns, t5 and t6, each of which is a
split of its own besides.

Three protocols go by this name, and their metrics are not comparable: 13 known classes (the authors, DMLNet), 12
without "other" (Grcic et al., "DenseHybrid", ECCV 2022), 11 without "unlabeled" and "other" (Rai et al.,
"Mask2Anomaly", ICCV 2023). Classes that one leaves out are void in it.
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
        "unlabeled", "building", "fence", "other", "pedestrian", "pole", "road line", "road", "sidewalk", "vegetation",
        "car", "wall", "traffic sign", "anomaly",
    ),
    (
        (0, 0, 60), (70, 70, 70), (190, 153, 153), (250, 170, 160), (220, 20, 60), (153, 153, 153), (157, 234, 50),
        (128, 64, 128), (244, 35, 232), (107, 142, 35), (0, 0, 142), (102, 102, 156), (220, 220, 0), (60, 250, 240),
    ),
)  # fmt: skip
"""The classes in the order of the values in the masks, which begin at 1. As the authors and DMLNet do, "unlabeled" and
"other" are trained as classes (hendrycks/anomaly-seg, issues 16 and 17); the authors' colour of "unlabeled" is black,
which is void here.
"""


SPLITS = {
    "train": "train/images/training",
    "val": "train/images/validation",
    "test": "test/images/test",
    "test-t5": "test/images/test/t5",
    "test-t6": "test/images/test/t6",
}


def streethazards(root: Path, split: str, name: str = "streethazards", void: tuple[str, ...] = ()) -> Source:
    """Open a split of StreetHazards: train and val have 13 classes, less those of ``void``; test has "anomaly" besides.

    A network that is trained on it therefore does not know "anomaly". ``test-t5`` and ``test-t6`` are the two towns of
    test, whose images have the same ids there. Raises ``OwsegError`` for another layout, an image without its mask and
    a value above 14, or above 13 in train and val.
    """
    folder = split_folder(root, split, SPLITS)
    part, _, town = split.partition("-")
    frames = find_frames(folder.parent if town else folder, pattern=f"{town or '*'}/*")
    masks = find_masks(frames, root / SPLITS[part].replace("images", "annotations"), ".png")
    present = CLASSES if part == "test" else CLASSES.without(["anomaly"])
    classes = present.without(void)
    # No published mask holds 0; it is void should one do so.
    codes = {0: IGNORE, **{i: classes.index(n) if n in classes else IGNORE for i, n in enumerate(present.names, 1)}}
    return paired(f"{name}:{split}", classes, frames, masks, partial(read_ids, codes=codes))


CARDS = (
    Card(
        "streethazards",
        "StreetHazards, CARLA, anomalies in test",
        make=streethazards,
        source="github.com/hendrycks/anomaly-seg",
        facts={
            "classes": "13, and anomaly in test",
            "layout": (
                "train/{images,annotations}/{training,validation}/TOWN/*.png, test/{images,annotations}/test/TOWN/*.png"
            ),
            "splits": ("train", "val", "test", "test-t5", "test-t6"),
            "licence": "see its site",
        },
    ),
    Card(
        "streethazards12",
        'StreetHazards, "other" void: the protocol of open-mIoU',
        make=partial(streethazards, name="streethazards12", void=("other",)),
        source="github.com/hendrycks/anomaly-seg",
        facts={
            "classes": "12, and anomaly in test",
            "layout": "that of streethazards",
            "splits": ("train", "val", "test", "test-t5", "test-t6"),
            "licence": "see its site",
        },
    ),
    Card(
        "streethazards11",
        'StreetHazards, "unlabeled" and "other" void: the protocol of Mask2Anomaly',
        make=partial(streethazards, name="streethazards11", void=("unlabeled", "other")),
        source="github.com/hendrycks/anomaly-seg",
        facts={
            "classes": "11, and anomaly in test",
            "layout": "that of streethazards",
            "splits": ("train", "val", "test", "test-t5", "test-t6"),
            "licence": "see its site",
        },
    ),
)
