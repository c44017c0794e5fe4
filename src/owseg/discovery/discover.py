"""Discovery: from a folder of images to a queue of groups that a person can go through."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from owseg._files import write_whole
from owseg._progress import track
from owseg.data.images import read_image
from owseg.data.masks import Rle
from owseg.data.render import encode_jpeg
from owseg.discovery.clustering import collapse, group, principal, priority, rank, typical
from owseg.discovery.queue import Queue
from owseg.discovery.storage import About, Group, file_hash
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.regions import MIN_AREA, SPLIT_COSINE
from owseg.types import Forward

TILE = 160
"""Side of a thumbnail, in pixels."""


ROWS, COLUMNS = 12, 9
"""How much of the queue its overview shows: so many groups, and so many regions of each."""


@dataclass(frozen=True)
class Discovery:
    """What a run found: images and regions in the queue, regions that only repeat others, groups; what it skipped."""

    images: int
    regions: int
    copies: int
    groups: int
    skipped: tuple[str, ...]


def discover(
    kb: KnowledgeBase, paths: Sequence[Path], folder: Path, name: str = "", min_area: float = MIN_AREA,
    split_at: float = SPLIT_COSINE, forward: Forward | None = None,
) -> tuple[Queue, Discovery]:  # fmt: skip
    """Look at every image, store its unknown regions in the queue ``folder``, and group them all.

    A run that was stopped goes on where it was; one image is held in memory at a time, then the regions' embeddings.
    ``name`` is what the knowledge base is called. An image that cannot be read is reported, not fatal. Raises
    ``OwsegError`` without a threshold, for no image, and for a queue that was made otherwise.
    """
    if kb.threshold is None:
        raise OwsegError("this knowledge base has no threshold yet; run `owseg calibrate` first.")
    if not paths:
        raise OwsegError("there is no image to look at; name images or folders.")
    paths = [path.parent.resolve() / path.name for path in paths]  # a link to an image keeps its own name
    root = Path(os.path.commonpath([path.parent for path in paths]))
    about = About(name, kb.fingerprint(decides=True), kb.labels.names, str(root), min_area, split_at)
    queue, skipped = Queue.begin(folder, about), []
    for path in track(paths, "discovering", len(paths)):
        below = path.relative_to(root).as_posix()
        if queue.has(below):
            continue
        try:
            image = read_image(path)
            found = kb.regions(image, min_area, split_at, forward, image_id=below)
        except (OwsegError, RuntimeError, MemoryError) as error:  # torch says so when it runs out of memory
            reason = (str(error).strip() or f"{path}: there is not enough memory for it").splitlines()[0]
            skipped.append(reason if isinstance(error, OwsegError) else f"{path}: {reason}")
            continue
        thumbnails = [encode_jpeg(thumbnail(image, r.mask, r.box)) for r in found.regions]
        queue.add(below, file_hash(path), found, thumbnails)
    result = group_queue(queue, kb)
    write_whole(queue.folder / "groups.jpg", encode_jpeg(overview(queue)))
    return queue, Discovery(*result, tuple(skipped))


def group_queue(queue: Queue, kb: KnowledgeBase) -> tuple[int, int, int, int]:
    """Group all regions of a queue and store the groups; return the numbers of images, regions, copies and groups.

    Memory is that of the embeddings, 4 C bytes a region, and of ``grouping.group``.
    """
    assert kb.threshold is not None
    ids: list[str] = []
    names, embeddings, rows = [], [], []
    for one in queue.image_ids():
        entry = queue.entry(one)
        height, width = entry.size
        names.append(entry.name)
        for region, r in zip(entry.ids, entry.regions, strict=True):
            ids.append(region)
            embeddings.append(r.embedding)
            excess = (r.mean - kb.threshold.value) / kb.threshold.unit
            distance = 1.0 if r.distance is None else r.distance / np.sqrt(len(r.embedding))
            x, y, w, h = r.box
            rows.append((len(names) - 1, r.share, excess, distance, x / width, y / height, w / width, h / height))
    if not ids:
        queue.write_groups([])
        return len(names), 0, 0, 0
    z, table = np.stack(embeddings), np.array(rows)
    values = priority(*table[:, 1:4].T)
    stands = collapse(_frames(names)[table[:, 0].astype(int)], table[:, 4:], z, values)
    kept = np.unique(stands)
    low = principal(z[kept])
    numbers = group(low)
    groups = []
    for number, g in enumerate(rank(numbers, values[kept], low), 1):
        members = kept[typical(np.flatnonzero(numbers == g), low)]
        copies = {ids[m]: tuple(ids[i] for i in np.flatnonzero(stands == m) if i != m) for m in members}
        total = float(values[members].sum())
        groups.append(Group(number, tuple(ids[m] for m in members), {r: c for r, c in copies.items() if c}, total))
    queue.write_groups(groups)
    return len(names), len(ids), len(ids) - len(kept), len(groups)


def thumbnail(image: np.ndarray, mask: Rle, box: tuple[int, int, int, int], side: int = TILE) -> np.ndarray:
    """Return a region and its surroundings, outlined, as a square (side, side, 3) uint8."""
    x, y, width, height = box
    half = max(width, height) * 0.7 + 8
    spans = zip((x, y), (width, height), (image.shape[2], image.shape[1]), strict=True)
    left, top = (round(np.clip(start + n / 2 - half, 0, max(0, most - 2 * half))) for start, n, most in spans)
    edges = (left, top, left + round(2 * half), top + round(2 * half))
    size = (side, side)
    entry = Image.fromarray(image.transpose(1, 2, 0)).crop(edges).resize(size, Image.Resampling.BILINEAR)
    cut = Image.fromarray(mask.mask()).crop(edges).resize(size, Image.Resampling.NEAREST)
    inside, tile = np.asarray(cut) > 0, np.array(entry)
    tile[ndimage.binary_dilation(inside, iterations=3) & ~inside] = 255
    tile[ndimage.binary_dilation(inside, iterations=2) & ~inside] = (255, 0, 200)
    return tile


def overview(queue: Queue) -> np.ndarray:
    """Return the first groups of a queue as one image (H, W, 3) uint8: a row a group, the most typical first."""
    groups = queue.groups()[:ROWS]
    left, gap = 190, 6
    sheet = Image.new("RGB", (left + COLUMNS * (TILE + gap), max(1, len(groups)) * (TILE + gap) + gap), "white")
    draw, font, big = ImageDraw.Draw(sheet), ImageFont.load_default(15), ImageFont.load_default(30)
    if not groups:
        draw.text((12, 60), "no unknown region", "black", font)
    for row, group_ in enumerate(groups):
        top = gap + row * (TILE + gap)
        copies = sum(map(len, group_.copies.values()))
        nearest = [queue.region(r).nearest for r in group_.regions[:COLUMNS]]
        lines = (
            f"{len(group_)} region{'s' if len(group_) > 1 else ''}",
            f"and {copies} cop{'ies' if copies > 1 else 'y'}" if copies else "",
        )
        draw.text((12, top + 6), str(group_.number), "black", big)
        likely = max(dict.fromkeys(nearest), key=nearest.count)
        draw.text((12, top + 50), "\n".join((*filter(None, lines), f"nearest: {likely[:18]}")), "black", font)
        for column, region in enumerate(group_.regions[:COLUMNS]):
            sheet.paste(_tile(queue, region), (left + column * (TILE + gap), top))
    return np.asarray(sheet)


def _tile(queue: Queue, region: str) -> Image.Image:
    return Image.fromarray(read_image(queue.thumbnail(region)).transpose(1, 2, 0)).resize((TILE, TILE))


def _frames(names: Sequence[str]) -> np.ndarray:
    """Return the images' places in the order of their names, ``a2`` before ``a10``; a new folder leaves a gap."""
    order = sorted(range(len(names)), key=lambda i: natural(names[i]))
    place, at, folder = np.zeros(len(names), np.int64), -1, ""
    for i in order:
        here = str(PurePosixPath(names[i]).parent)
        at, folder = at + (1 if here == folder else 2), here
        place[i] = at
    return place


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which ``a2`` comes before ``a10``."""
    return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(re.split("([0-9]+)", name))]
