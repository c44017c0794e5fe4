"""StreetHazards (Hendrycks et al., ICML 2022): scenes of the simulator CARLA, with anomalies in test alone.

The two archives unpack to ``train/{images,annotations}/{training,validation}/TOWN`` and
``test/{images,annotations}/test/TOWN``. Label maps hold 1 to 14.
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
which is void here."""


SPLITS = {"train": "train/images/training", "val": "train/images/validation", "test": "test/images/test"}


def streethazards(root: Path, split: str) -> Source:
    """Open a split of StreetHazards: train and val have 13 classes, test has "anomaly" besides.

    A network that is trained on it therefore does not know "anomaly". Raises ``OwsegError`` for another layout, an
    image without its mask and a value above 14, or above 13 in train and val.
    """
    folder = split_folder(root, split, SPLITS)
    frames = find_frames(folder, pattern="*/*")
    masks = find_masks(frames, root / SPLITS[split].replace("images", "annotations"), ".png")
    # Protocols differ: these 13 are DMLNet's; the open-mIoU of Grcic et al. ignores "other" and averages over 12.
    classes = CLASSES if split == "test" else CLASSES.without(["anomaly"])
    # No published mask holds 0; it is void should one do so.
    codes = {0: IGNORE, **{i + 1: i for i in range(len(classes))}}
    return paired(f"streethazards:{split}", classes, frames, masks, partial(read_ids, codes=codes))


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
            "splits": ("train", "val", "test"),
            "licence": "see its site",
        },
    ),
)
