"""BDD100K, semantic segmentation of the 10K images (Yu et al., CVPR 2020): Cityscapes' 19 classes.

Three layouts are in use. ``images/10k/{split}/NAME.jpg`` with ``labels/sem_seg/masks/{split}/NAME.png`` is the one that
its site has now. ``seg/images/{split}`` with ``seg/labels/{split}/NAME_train_id.png`` is the first release, which
DMLNet's code reads. Both have Cityscapes' train ids, 255 void. hendrycks/anomaly-seg has ``seg/train_labels/{split}``
instead, with train ids + 2, and 1 for void; it is read where ``seg/labels`` is missing.

Classes are made unknown by name, and no image is moved; BDD-Anomaly, which has the same images in splits of its own, is
in ``bdd_anomaly``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from owseg._registry import Card
from owseg.data.dataset import Source
from owseg.data.datasets._layout import find_frames, find_masks, paired, read_ids, split_folder
from owseg.data.datasets.cityscapes import CITYSCAPES, TRAIN_IDS
from owseg.labels import IGNORE

SPLITS = ("train", "val", "test")


SHIFTED = {1: IGNORE, **{i + 2: i for i in range(19)}}
"""The values of anomaly-seg's ``train_labels``: its create_bdd_dataset.py adds 2, so that 255, -1 in 8 bits, is 1."""


def find_labelled(root: Path, split: str) -> tuple[dict[str, Path], dict[str, Path], dict[int, int]]:
    """Return the images of ``split`` by name, their masks, which are optional in test, and what the values mean.

    Raises ``OwsegError`` for another layout and an image without its mask.
    """
    # Without either folder the recent layout is named in the error.
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
    return frames, find_masks(frames, labels / split, ending, optional=split == "test"), codes


def bdd100k(root: Path, split: str) -> Source:
    """Open a split of BDD100K; test has no masks.

    Raises ``OwsegError`` for another layout, an image without its mask and a value that the layout does not use.
    """
    frames, masks, codes = find_labelled(root, split)
    return paired(f"bdd100k:{split}", CITYSCAPES, frames, masks, partial(read_ids, codes=codes))


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
