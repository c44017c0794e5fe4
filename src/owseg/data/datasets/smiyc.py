"""SegmentMeIfYouCan (Chan et al., NeurIPS 2021): RoadAnomaly21 and RoadObstacle21.

The archives (``dataset_AnomalyTrack``, ``dataset_ObstacleTrack``) have ``images/NAME.jpg`` or ``.webp``, and
``labels_masks/NAME_labels_semantic.png`` for the validation images alone: the test masks are not published. Collections
of anomaly data sets have the validation images as ``images/N.*`` and ``labels_masks/N.png``. The masks hold 0 not
anomaly, 1 anomaly, 255 void.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from owseg._registry import Card
from owseg.data.dataset import Source
from owseg.data.datasets._layout import ANOMALY, ANOMALY_CODES, find_frames, find_masks, paired, read_ids, split_folder
from owseg.errors import NoSuchSplit, OwsegError


def smiyc(root: Path, split: str, kind: str) -> Source:
    """Open RoadAnomaly21 or RoadObstacle21: val has the images with a mask, test those without.

    Raises ``OwsegError`` for missing files and undefined values, and ``NoSuchSplit`` where the split has no image.
    """
    frames = find_frames(split_folder(root, "val", {"val": "images"}))
    masks = find_masks(frames, root / "labels_masks", "_labels_semantic.png", ".png", optional=True)
    if not masks:  # without this, a wrong folder of masks would turn every image into one of test
        raise OwsegError(f"{root / 'labels_masks'} holds no mask for any image of {root / 'images'}.")
    by_split = {"val": masks, "test": {k: p for k, p in frames.items() if k not in masks}}
    if split not in by_split or not by_split[split]:
        raise NoSuchSplit.of(root, split, (s for s, found in by_split.items() if found))
    kept = {key: path for key, path in frames.items() if key in by_split[split]}
    return paired(f"{kind}:{split}", ANOMALY, kept, masks, partial(read_ids, codes=ANOMALY_CODES))


CARDS = (
    Card(
        "roadanomaly21",
        "SegmentMeIfYouCan, anomalies: 10 frames to validate",
        make=partial(smiyc, kind="roadanomaly21"),
        source="segmentmeifyoucan.com/datasets",
        facts={
            "classes": "known, anomaly",
            "layout": ("images/NAME.jpg, labels_masks/NAME_labels_semantic.png; or images/N.*, labels_masks/N.png"),
            "splits": ("val", "test"),
            "licence": "per image, see its LICENSE",
        },
    ),
    Card(
        "roadobstacle21",
        "SegmentMeIfYouCan, obstacles: 30 frames to validate",
        make=partial(smiyc, kind="roadobstacle21"),
        source="segmentmeifyoucan.com/datasets",
        facts={
            "classes": "known, anomaly",
            "layout": ("images/NAME.webp, labels_masks/NAME_labels_semantic.png; or images/N.*, labels_masks/N.png"),
            "splits": ("val", "test"),
            "licence": "see its LICENSE",
        },
    ),
)
