"""Street photos of many towns and cameras: LabelMeFacade, one half of its places to be shown, the other to choose by.

No place, as the data set names it, has photos in both halves; a large city may have several names. Trainings take
photos of the first half without labels; what is chosen, and what tables say of other towns, is of the second.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from owseg.data.dataset import DataSet
from owseg.data.datasets import open_source
from owseg.data.images import find_images
from owseg.labels import IGNORE, LabelSpace

TOWNS = {"building": "building", "car": "car", "door": "building", "pavement": "pavement", "road": "road",
         "sky": "sky", "vegetation": "tree", "window": "building"}  # fmt: skip


def town_of(place: Path) -> dict[str, str]:
    """Return the town of each photo, by the photo's name."""
    with (place / "list.csv").open() as file:
        return {row["name"]: row["place"] for row in csv.DictReader(file)}


def shown_towns(place: Path) -> set[str]:
    """Return the towns whose photos a training may see: every second one, from that with the most photos down."""
    counts = Counter(town_of(place).values())
    return {*sorted(counts, key=lambda town: (-counts[town], town))[::2]}


def shown_photos(place: Path) -> list[Path]:
    """Return the image files of the towns that a training may see."""
    town, shown = town_of(place), shown_towns(place)
    return [path for path in find_images(place / "images") if town[path.stem] in shown]


def where(data: DataSet, wanted: Callable[[str], bool]) -> DataSet:
    """Return the images of ``data`` whose name is wanted."""
    picked = [i for i, name in enumerate(data.source.ids) if wanted(name)]
    return data.pick(picked, f"{data.source.name}, {len(picked)} images")


def open_towns(place: Path, classes: LabelSpace, labels: LabelSpace) -> DataSet:
    """Return the photos of the towns that no training sees, in ``classes``, those of CamVid."""
    source = open_source(f"folder:{place}", "all")
    ids = np.full(256, IGNORE, np.uint8)
    for i, name in enumerate(json.loads((place / "classes.json").read_text())):
        ids[i] = classes.names.index(TOWNS[name])

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        image, mask = source.read(i)
        return image, ids[mask]

    photos, town, shown = (
        DataSet(replace(source, classes=classes, read=read), labels),
        town_of(place),
        shown_towns(place),
    )
    return where(photos, lambda name: town[name] not in shown)
