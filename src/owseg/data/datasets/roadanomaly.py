"""Road Anomaly (Lis et al., ICCV 2019): 60 images of unusual objects on the road, from the web.

The archive has ``frames/NAME.jpg`` (or ``.webp``) and ``frames/NAME.labels/labels_semantic.png``; collections of
anomaly data sets also have ``images/NAME.jpg`` and ``labels_masks/NAME.png``. The masks hold 0 background, 1 road (not
in every version), 2 anomaly.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from owseg._registry import Card
from owseg.data.dataset import Source
from owseg.data.datasets._layout import ANOMALY, find_frames, find_masks, only_split, paired, read_ids, split_folder
from owseg.labels import IGNORE, KNOWN

CODES = {0: KNOWN, 1: KNOWN, 2: 0, IGNORE: IGNORE}


def roadanomaly(root: Path, split: str) -> Source:
    """Open Road Anomaly, whose only split is test; raise ``OwsegError`` for missing files and undefined values."""
    published = not (root / "images").is_dir()
    folder = split_folder(root, "test", {"test": "frames" if published else "images"})
    only_split(root, split, "test")
    frames = find_frames(folder)
    if published:
        masks = find_masks(frames, folder, ".labels/labels_semantic.png")
    else:
        masks = find_masks(frames, root / "labels_masks", ".png")
    return paired("roadanomaly:test", ANOMALY, frames, masks, partial(read_ids, codes=CODES))


CARDS = (
    Card(
        "roadanomaly",
        "Road Anomaly, 60 images",
        make=roadanomaly,
        source="epfl.ch/labs/cvlab/data/road-anomaly",
        facts={
            "classes": "known, anomaly",
            "layout": ("frames/NAME.jpg, frames/NAME.labels/labels_semantic.png; or images/N.*, labels_masks/N.png"),
            "splits": ("test",),
            "licence": "see its site",
        },
    ),
)
