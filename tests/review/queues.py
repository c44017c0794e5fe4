"""A small queue that needs no network: two pictures, four regions, two groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from owseg.queue import About, Group, Queue, file_hash, picture_id
from owseg.regions import Found, Region, Rle
from tests import tiny

SIZE = (24, 32)
IDS = [f"{picture_id('p0.png')}-{k}" for k in (1, 2, 3)] + [f"{picture_id('p1.png')}-1"]
"""The regions' ids: three of the first picture, one of the second."""


def square(y: int, x: int, side: int = 6) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def region(mask: np.ndarray) -> Region:
    rows, columns = np.nonzero(mask)
    box = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    whole = Rle.of(mask)
    numbers = tuple(int(v) for v in box)
    return Region("", whole, whole, numbers, whole.area, 2.0, 3.0, np.ones(2, np.float32), "road", 1.5)  # type: ignore[arg-type]


def make(place: Path, classes: tuple[str, ...] = ("road", "sky")) -> Queue:
    photos = place / "photos"
    photos.mkdir()
    queue = Queue.begin(place / "queue", About("kb", "0" * 16, classes, str(photos), 0.01, 0.5))
    for i, masks in enumerate(([square(2, 2), square(2, 12, 5), square(14, 20, 4)], [square(8, 8, 8)])):
        Image.fromarray(tiny.picture(i, SIZE).transpose(1, 2, 0)).save(photos / f"p{i}.png")
        found = Found(np.logical_or.reduce(masks), tuple(map(region, masks)))
        queue.add(f"p{i}.png", file_hash(photos / f"p{i}.png"), found, [b"jpeg"] * len(masks))
    queue.write_groups([Group(1, (IDS[0], IDS[1], IDS[3])), Group(2, (IDS[2],))])
    return queue
