"""Queues of format 1, a folder of JSON files, and their conversion to a database.

    queue.json         how the queue was made
    pictures/ID.json   an image and its regions, masks as uncompressed run lengths; ID.npy: their embeddings
    groups.json        the regions in groups
    decisions.jsonl    the log of actions, a line each
    shots.json         the images that were chosen to learn from, by class

Thumbnails are where they are now. An old queue is read without a change; the first to write converts it, under the lock
that older versions take to write. Until the database is complete and has its name, only the old files count; then only
the database does, and they are removed, ``queue.json`` last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from sqlite3 import Connection
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np

from owseg._files import MAX_ANNOTATIONS, MAX_TEXT, read_at_most, read_json
from owseg._progress import track
from owseg.data.masks import Rle, check_size
from owseg.discovery.contents import Group, QueueImage, QueueInfo, image_id_of, is_image_id, is_region_id, relative
from owseg.discovery.database import DATABASE, FORMAT, create, damaged, exclusively, sound
from owseg.discovery.log import REJECT, UNDO, Action, insert_action
from owseg.discovery.rows import insert_image, insert_info, replace_groups, replace_shots
from owseg.errors import OwsegError
from owseg.knowledge.regions import Region

QUEUE, IMAGES, GROUPS, DECISIONS, SHOTS = "queue.json", "pictures", "groups.json", "decisions.jsonl", "shots.json"

MAX_LOG = 256 << 20
"""The bytes that the log may have."""


def is_old(folder: Path) -> bool:
    """Return whether ``folder`` has files of this format; beside a database they are what a kill left of them."""
    return (folder / QUEUE).is_file()


def convert(folder: Path) -> None:
    """Put a database in the place of the old files; after an error or a kill one of them is there and whole.

    Raises ``OwsegError`` for a file that is missing or damaged, and where the database cannot be written.
    """
    path, images = folder / DATABASE, folder / IMAGES
    with exclusively(path):
        if not is_old(folder):
            return  # another process was faster
        if not path.exists():
            create(path, lambda db: fill(folder, db))
        old = [p for p in images.glob("*") if p.suffix in (".json", ".npy") and is_image_id(p.stem)]
        for file in (*old, *(folder / name for name in (GROUPS, DECISIONS, SHOTS))):
            file.unlink(missing_ok=True)
        with suppress(OSError):  # it may hold what is no part of the queue
            images.rmdir()
        (folder / QUEUE).unlink()


def fill(folder: Path, db: Connection) -> None:
    """Add what the old files hold to an empty database; raise ``OwsegError`` for one that is missing or damaged."""
    insert_info(db, read_info(folder))
    ids = sorted(path.stem for path in (folder / IMAGES).glob("*.json") if is_image_id(path.stem))
    for image_id in track(ids, "converting the queue", len(ids)):
        insert_image(db, _read_image(folder, image_id))
    if (folder / GROUPS).exists():  # else `owseg discover` was stopped before
        replace_groups(db, _read_groups(folder))
    for action in _read_log(folder / DECISIONS):
        insert_action(db, action)
    for name, images in _read_shots(folder / SHOTS).items():
        replace_shots(db, name, images)


def read_info(folder: Path) -> QueueInfo:
    """Return how the queue was made; raise ``OwsegError`` if the file is damaged or of another format."""
    with _reading(folder / QUEUE) as value:
        info = QueueInfo(**{**value, "classes": tuple(map(str, value["classes"]))})
        texts, numbers = (info.kb, info.fingerprint, info.root), (info.min_area, info.split_at)
        if not all(isinstance(v, str) for v in texts) or not all(isinstance(v, int | float) for v in numbers):
            raise ValueError
        if not Path(info.root).is_absolute():
            raise ValueError
        return info


def _read_image(folder: Path, image_id: str) -> QueueImage:
    embeddings = _read_embeddings(folder / IMAGES / f"{image_id}.npy")
    with _reading(folder / IMAGES / f"{image_id}.json") as value:
        size, name = check_size(*value["size"]), relative(value["name"])
        if image_id_of(name) != image_id:
            raise ValueError
        regions = [_read_region(name, v, size, e) for v, e in zip(value["regions"], embeddings, strict=True)]
        unknown = Rle.from_json(value["unknown"], size)
        return QueueImage(image_id, name, str(value["sha256"]), size, unknown, tuple(regions))


def _read_region(name: str, value: Mapping[str, Any], size: tuple[int, int], embedding: np.ndarray) -> Region:
    x, y, width, height = (int(v) for v in value["box"])
    mask, core = Rle.from_json(value["mask"], size), Rle.from_json(value["core"], size)
    if mask.area != value["area"] or core.area < 1 or not core.within(mask):
        raise ValueError
    return Region(
        image_id=name,
        mask=mask,
        core=core,
        box=(x, y, width, height),
        area=mask.area,
        mean=float(value["mean"]),
        peak=float(value["peak"]),
        embedding=embedding,
        nearest=str(value["nearest"]),
        distance=None if value["distance"] is None else float(value["distance"]),
    )


def _read_embeddings(path: Path) -> np.ndarray:
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray) and found.ndim == 2 and found.dtype == np.float32 and np.isfinite(found).all():
            return found
    # A header may be no Python, and may ask for any amount of memory.
    except (OSError, ValueError, EOFError, BadZipFile, SyntaxError, TokenError, MemoryError):
        pass
    raise damaged(path)


def _read_groups(folder: Path) -> list[Group]:
    with _reading(folder / GROUPS, MAX_ANNOTATIONS) as value:  # of the regions of all images
        groups = []
        for number, g in enumerate(value["groups"], 1):
            copies = {r: tuple(c) for r, c in g["copies"].items()}
            priority = g["priority"] if "priority" in g else g["worth"]  # the name that owseg 0.1 wrote
            group = Group(number, tuple(g["regions"]), copies, float(priority))
            named = (*group.regions, *copies, *(c for several in copies.values() for c in several))
            if not group.regions or not all(map(is_region_id, named)):
                raise ValueError
            groups.append(group)
        return groups


def _read_log(path: Path) -> Iterator[Action]:
    lines = (
        read_at_most(path, MAX_LOG).split(b"\n")[:-1] if path.exists() else []
    )  # a torn last line was never confirmed
    for line in lines:
        try:
            yield _action(json.loads(line))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            raise damaged(path) from None


def _action(value: dict[str, Any]) -> Action:
    do, mask = value["do"], value.get("mask")
    rle = None if mask is None else Rle.from_json(mask, check_size(*mask["size"]))
    name = None if do in (REJECT, UNDO) else value["name"]
    return Action(do, tuple(value["regions"]), name, rle, str(value.get("when", "")), "")


def _read_shots(path: Path) -> dict[str, list[str]]:
    try:
        value = read_json(path)
        return {str(name): [str(i) for i in images] for name, images in value.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        raise OwsegError(f"{path} is damaged; delete it, and choose the shots again.") from None


@contextmanager
def _reading(path: Path, most: int = MAX_TEXT) -> Iterator[dict[str, Any]]:
    """Yield the contents of a JSON file of this format; whatever is wrong with it becomes an ``OwsegError``.

    So does a file of more than ``most`` bytes.
    """
    try:
        # The number first, so that another format is not reported as damage.
        value = read_json(path, most=most)
        number = value.pop("format")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise damaged(path) from None
    if number != 1:
        raise OwsegError(f"{path} is of format {number!r}; this owseg reads formats 1 and {FORMAT}.")
    with sound(path):
        yield value
