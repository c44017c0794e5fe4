"""The rows of a queue's database as values. Nothing that a row says is trusted.

Functions that read raise ``ValueError`` or its like for what they did not write (``database.sound`` makes one sentence
of it). Masks are COCO's compressed run lengths: a third of the bytes of JSON, and what ``Rle`` holds anyway; their sum
tells whether they are whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import numpy as np

from owseg.data.masks import Rle, check_size
from owseg.discovery.contents import (
    Group,
    ImageSummary,
    QueueImage,
    QueueInfo,
    image_id_of,
    is_image_id,
    is_region_id,
    relative,
    to_bytes,
    to_text,
)
from owseg.knowledge.regions import Region


def insert_info(db: Connection, info: QueueInfo) -> None:
    """Store how the queue was made."""
    row = to_bytes(info.kb), info.fingerprint, to_bytes(info.root), info.min_area, info.split_at
    db.execute("INSERT INTO queue VALUES (?, ?, ?, ?, ?, 0)", row)
    db.executemany("INSERT INTO classes (name) VALUES (?)", [(to_bytes(name),) for name in info.classes])


def read_info(db: Connection) -> QueueInfo:
    """Return how the queue was made."""
    ((kb, fingerprint, root, *numbers),) = db.execute("SELECT kb, fingerprint, root, min_area, split_at FROM queue")
    classes = tuple(to_text(name) for (name,) in db.execute("SELECT name FROM classes ORDER BY number"))
    info = QueueInfo(to_text(kb), fingerprint, classes, to_text(root), *numbers)
    if not isinstance(fingerprint, str) or not all(isinstance(v, float) for v in numbers):
        raise ValueError
    if not Path(info.root).is_absolute():
        raise ValueError
    return info


def read_stamp(db: Connection) -> tuple[int, int]:
    """Return how often the groups were stored, and the number of the last action."""
    (found,) = db.execute("SELECT grouped, (SELECT max(id) FROM actions) FROM queue")
    return int(found[0]), int(found[1] or 0)


def has_image(db: Connection, image_id: str) -> bool:
    """Return whether the queue holds the image ``image_id``."""
    return db.execute("SELECT 1 FROM images WHERE id = ?", (image_id,)).fetchone() is not None


def insert_image(db: Connection, image: QueueImage) -> None:
    """Store an image with its regions."""
    row = image.id, to_bytes(image.name), image.sha256, *image.size, image.unknown.code
    db.execute("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?)", row)
    rows = ((image.id, k, *_region_row(region)) for k, region in enumerate(image.regions, 1))
    db.executemany(f"INSERT INTO regions VALUES ({', '.join('?' * 15)})", rows)


def read_image_ids(db: Connection) -> list[str]:
    """Return the ids of all images, sorted."""
    return [str(image_id) for (image_id,) in db.execute("SELECT id FROM images ORDER BY id")]


def read_image(db: Connection, image_id: str) -> QueueImage | None:
    """Return the image ``image_id``; None if there is none."""
    if not is_image_id(image_id):
        return None
    row = db.execute("SELECT name, sha256, height, width, unknown FROM images WHERE id = ?", (image_id,)).fetchone()
    if row is None:
        return None
    name, size = relative(to_text(row[0])), check_size(*row[2:4])
    if image_id_of(name) != image_id:
        raise ValueError
    rows = db.execute("SELECT * FROM regions WHERE image = ? ORDER BY number", (image_id,))
    regions = tuple(_region(name, size, k, row) for k, row in enumerate(rows, 1))
    return QueueImage(image_id, name, str(row[1]), size, Rle.from_code(row[4], size), regions)


def count_regions(db: Connection, image_id: str) -> int:
    """Return how many regions an image has; 0 for one that is not in the queue."""
    (number,) = db.execute("SELECT count(*) FROM regions WHERE image = ?", (image_id,)).fetchone()
    return int(number)


def read_summaries(db: Connection) -> dict[str, ImageSummary]:
    """Return what lists of regions need of every image, by id."""
    rows = db.execute("SELECT image, core_area, nearest FROM regions ORDER BY image, number")
    found = {image: [row[1:] for row in own] for image, own in groupby(rows, itemgetter(0))}
    return {
        image: ImageSummary(
            relative(to_text(name)),
            tuple(int(area) for area, _ in found.get(image, ())),
            tuple(to_text(nearest) for _, nearest in found.get(image, ())),
        )
        for image, name in db.execute("SELECT id, name FROM images")
    }


def replace_groups(db: Connection, groups: Sequence[Group]) -> None:
    """Store the groups, in the order of review, in place of those that are there."""
    db.execute("DELETE FROM groups")
    db.execute("DELETE FROM members")
    db.execute("UPDATE queue SET grouped = grouped + 1")
    db.executemany("INSERT INTO groups VALUES (?, ?)", [(n, g.priority) for n, g in enumerate(groups, 1)])
    for n, group in enumerate(groups, 1):
        copies = ((copy, region) for region, several in group.copies.items() for copy in several)
        members = ((n, *member) for member in (*((r, None) for r in group.regions), *copies))
        db.executemany("INSERT INTO members (number, region, copy_of) VALUES (?, ?, ?)", members)


def read_groups(db: Connection) -> list[Group] | None:
    """Return the groups in the order of review; None if they were never stored."""
    if not read_stamp(db)[0]:
        return None
    regions: dict[int, list[str]] = {}
    copies: dict[int, dict[str, list[str]]] = {}
    for number, region, of in db.execute("SELECT number, region, copy_of FROM members ORDER BY place"):
        if not is_region_id(region) or not (of is None or is_region_id(of)):
            raise ValueError
        if of is None:
            regions.setdefault(number, []).append(region)
        else:
            copies.setdefault(number, {}).setdefault(of, []).append(region)
    return [
        Group(n, tuple(regions[n]), {r: tuple(c) for r, c in copies.get(n, {}).items()}, float(priority))
        for n, (priority,) in enumerate(db.execute("SELECT priority FROM groups ORDER BY number"), 1)
    ]


def replace_shots(db: Connection, name: str, images: Sequence[str]) -> None:
    """Store from which images to learn the class ``name``."""
    db.execute("DELETE FROM shots WHERE name = ?", (to_bytes(name),))
    db.executemany("INSERT INTO shots VALUES (?, ?, ?)", [(to_bytes(name), i, image) for i, image in enumerate(images)])


def read_shots(db: Connection, name: str) -> list[str]:
    """Return the images from which to learn the class ``name``; none if nobody chose any."""
    rows = db.execute("SELECT image FROM shots WHERE name = ? ORDER BY place", (to_bytes(name),))
    return [str(image) for (image,) in rows]


def _region_row(r: Region) -> tuple[Any, ...]:
    masks = r.mask.code, r.core.code, np.asarray(r.embedding, "<f4").tobytes()
    return (*r.box, r.area, r.core.area, r.mean, r.peak, to_bytes(r.nearest), r.distance, *masks)


def _region(name: str, size: tuple[int, int], k: int, row: Sequence[Any]) -> Region:
    """Return region ``k`` of the image ``name`` from its row of the table."""
    _, number, *box, area, core_area, mean, peak, nearest, distance, mask, core, embedding = row
    x, y, width, height = map(int, box)
    whole, sure, z = Rle.from_code(mask, size), Rle.from_code(core, size), np.frombuffer(embedding, "<f4")
    # What the rows say twice has to agree: later code relies on a core within the mask.
    if number != k or whole.area != area or sure.area != core_area or core_area < 1 or not sure.within(whole):
        raise ValueError
    if not np.isfinite(z).all():
        raise ValueError
    return Region(
        image_id=name,
        mask=whole,
        core=sure,
        box=(x, y, width, height),
        area=area,
        mean=float(mean),
        peak=float(peak),
        embedding=z,
        nearest=to_text(nearest),
        distance=None if distance is None else float(distance),
    )
