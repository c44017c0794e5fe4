"""BDD100K, semantic segmentation of the 10K images (Yu et al., CVPR 2020): Cityscapes' 19 classes.

Three layouts are in use. ``images/10k/{split}/NAME.jpg`` with ``labels/sem_seg/masks/{split}/NAME.png`` is what the
site offers now. ``seg/images/{split}`` with ``seg/labels/{split}/NAME_train_id.png`` is the first release, from which
DMLNet's code reads. Both hold trainIds, 255 void. hendrycks/anomaly-seg publishes ``seg/train_labels/{split}`` instead,
trainIds + 2 with 1 for void; it is read where ``seg/labels`` is missing.

BDD-Anomaly (Hendrycks et al., ICML 2022) is these frames with train, motorcycle and bicycle unknown, and those that
show one moved from train and val to test. Here classes are made unknown by name, and every frame stays where it is.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from owseg._registry import Card
from owseg.data.dataset import Source
from owseg.data.datasets._layout import find_frames, masks, paired, read_ids, split_folder
from owseg.data.datasets.cityscapes import CITYSCAPES, TRAIN_IDS
from owseg.labels import IGNORE

SPLITS = ("train", "val", "test")


SHIFTED = {1: IGNORE, **{i + 2: i for i in range(19)}}
"""anomaly-seg's ``train_labels``: 255 became -1 in 8 bits and 2 was added, as its create_bdd_dataset.py has it."""


def bdd100k(root: Path, split: str) -> Source:
    """Open a split of BDD100K; test comes without labels.

    Raises ``OwsegError`` for another layout, an image without its labels and an id that the layout does not use.
    """
    recent = (root / "images" / "10k").is_dir() or not (root / "seg").is_dir()
    folder = split_folder(root, split, {s: f"{'images/10k' if recent else 'seg/images'}/{s}" for s in SPLITS})
    frames, codes = find_frames(folder), TRAIN_IDS
    if recent:
        labels = root / "labels" / "sem_seg" / "masks"
    elif (root / "seg" / "labels").is_dir() or not (root / "seg" / "train_labels").is_dir():
        labels = root / "seg" / "labels"
    else:
        labels, codes = root / "seg" / "train_labels", SHIFTED
    ending = ".png" if recent else "_train_id.png"
    truths = masks(frames, labels / split, ending, optional=split == "test")
    return paired(f"bdd100k:{split}", CITYSCAPES, frames, truths, partial(read_ids, codes=codes))


CARDS = (
    Card(
        "bdd100k",
        "BDD100K, 8000 labelled frames",
        make=bdd100k,
        source="bdd-data.berkeley.edu (register)",
        facts={
            "classes": "19 (Cityscapes')",
            "layout": (
                "images/10k/SPLIT/*.jpg, labels/sem_seg/masks/SPLIT/*.png; or seg/images/SPLIT, "
                "seg/labels/SPLIT/*_train_id.png (or seg/train_labels of hendrycks/anomaly-seg)"
            ),
            "splits": ("train", "val", "test"),
            "licence": "see its site",
        },
    ),
)
