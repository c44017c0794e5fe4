"""A small queue that needs no network: two images, four regions, two groups."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection

import numpy as np
import pytest
from PIL import Image

from owseg._files import file_sha256
from owseg.data.masks import Rle
from owseg.discovery import rows
from owseg.discovery.contents import Group, QueueInfo, image_id_of
from owseg.discovery.database import DATABASE
from owseg.discovery.queue import Queue
from owseg.knowledge.regions import Region, RegionProposals
from tests.support import tiny
from tests.support.folders import contents

SIZE = (24, 32)
IDS = [f"{image_id_of('p0.png')}-{k}" for k in (1, 2, 3)] + [f"{image_id_of('p1.png')}-1"]
"""The regions' ids: three of the first image, one of the second."""


def square(y: int, x: int, side: int = 6) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def region(mask: np.ndarray, core: np.ndarray | None = None) -> Region:
    rows, columns = np.nonzero(mask)
    box = int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1
    whole, core = Rle.of(mask), Rle.of(mask if core is None else core)
    return Region("", whole, core, box, whole.area, 2.0, 3.0, np.array([1, 0], np.float32), "road", 1.5)


def make(place: Path, classes: tuple[str, ...] = ("road", "sky")) -> Queue:
    """The first region's core is not all of it, and in each image a bit is unknown that is no region."""
    photos = place / "photos"
    photos.mkdir(parents=True)
    queue = Queue.begin(place / "queue", QueueInfo("kb", "0" * 16, classes, str(photos), 0.01, 0.5))
    first = region(square(2, 2), square(2, 2) & (np.arange(SIZE[1]) < 7))
    several = [first, region(square(2, 12, 5)), region(square(14, 20, 4))], [region(square(8, 8, 8))]
    for i, regions in enumerate(several):
        Image.fromarray(tiny.image(i, SIZE).transpose(1, 2, 0)).save(photos / f"p{i}.png")
        unknown = np.logical_or.reduce([r.mask.mask() for r in regions])
        unknown[20, 2:5] = True
        queue.add(
            f"p{i}.png",
            file_sha256(photos / f"p{i}.png"),
            RegionProposals(unknown, tuple(regions)),
            [b"jpeg"] * len(regions),
        )
    queue.write_groups([Group(1, (IDS[0], IDS[1], IDS[3])), Group(2, (IDS[2],))])
    return queue


def many(place: Path, images: int, regions: int) -> tuple[Queue, list[str]]:
    """A queue of images with up to 60 regions each, all in one group, and the regions' ids; no image is there."""
    queue = Queue.begin(place, QueueInfo("kb", "0" * 16, ("road", "sky"), str(place), 0.01, 0.5))
    found = [region(square(3 * (k // 10), 3 * (k % 10), 2)) for k in range(regions)]
    unknown = np.logical_or.reduce([r.mask.mask() for r in found])
    ids = [
        f"{queue.add(f'p{i}.png', '0' * 64, RegionProposals(unknown, tuple(found)), [])}-{k}"
        for i in range(images) for k in range(1, regions + 1)
    ]  # fmt: skip
    queue.write_groups([Group(1, tuple(ids))])
    return queue, ids


def noted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """Note the image of each call of a function of ``owseg.discovery.rows`` in the list that is returned."""
    read, images = getattr(rows, name), list[str]()

    def noting(db: Connection, image_id: str) -> object:
        images.append(image_id)
        return read(db, image_id)

    monkeypatch.setattr(rows, name, noting)
    return images


def edit(queue: Queue, sql: str, *values: object) -> None:
    """Change the database of a queue behind its back."""
    with closing(sqlite3.connect(queue.storage.path, isolation_level=None)) as db:
        db.execute(sql, values)


def holds(folder: Path) -> dict[str, object]:
    """What is in a queue's folder: the bytes of its files, and the rows of its database by table."""
    found: dict[str, object] = {name: data for name, data in contents(folder).items() if not name.startswith(DATABASE)}
    with closing(sqlite3.connect(folder / DATABASE)) as db:
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            found[table] = db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
    return found
