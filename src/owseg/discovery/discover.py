"""From a folder of images to a queue of groups for review."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
import torch

from owseg._files import file_sha256, write_errors, write_whole
from owseg._progress import track
from owseg.data.given import Given
from owseg.data.images import failure
from owseg.data.render import encode_jpeg
from owseg.discovery.clustering import (
    cluster,
    find_duplicates,
    members_of,
    principal,
    priority,
    rank,
    sort_by_typicality,
)
from owseg.discovery.contents import Group, QueueInfo, image_id_of
from owseg.discovery.queue import Queue
from owseg.discovery.thumbnails import overview, thumbnail
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.moved import moved_to
from owseg.knowledge.pieces import SPLIT_COSINE, pixels
from owseg.knowledge.regions import MIN_AREA, RegionProposals
from owseg.models.cluster import Cluster, shards_of
from owseg.models.over_images import over_images
from owseg.openset import NO_THRESHOLD
from owseg.types import Forward, Output, Sample


@dataclass(frozen=True)
class DiscoveryResult:
    """What is in a queue after a run: how many images, regions, near-duplicates among these, and groups.

    ``skipped`` has a sentence for each image that could not be read.
    """

    images: int
    regions: int
    copies: int
    groups: int
    skipped: tuple[str, ...] = ()


def discover(
    kb: KnowledgeBase, paths: Sequence[Path], folder: Path, name: str = "", min_area: float = MIN_AREA,
    split_at: float = SPLIT_COSINE, forward: Forward | None = None, cluster: Cluster | None = None,
) -> tuple[Queue, DiscoveryResult]:  # fmt: skip
    """Find the unknown regions of images, store them in the queue ``folder``, and group all regions of the queue.

    Images that are in the queue already are not processed again, so a run that was stopped can be resumed. One image is
    held in memory at a time, then the embeddings of all regions. ``name`` is the name of the knowledge base; for
    ``min_area``, ``split_at`` and ``forward`` see ``KnowledgeBase.regions``. With a ``cluster`` its workers find the
    regions, and this process stores them. An image that cannot be read is skipped, and ``ERRORS`` names it.
    Raises ``OwsegError`` without a threshold, without an image, and for a queue made by another knowledge base, with
    other settings or of images below another folder.
    """
    if kb.threshold is None:
        raise OwsegError(NO_THRESHOLD)
    if not paths:
        raise OwsegError("there is no image to process; name images or folders.")
    pixels(min_area, (1, 1))  # before anything is stored
    if not -1 <= split_at <= 1:
        raise OwsegError(f"--split-at is a cosine from -1 to 1, not {split_at:g}.")
    paths = [path.parent.resolve() / path.name for path in paths]  # a link to an image keeps its own name
    root = Path(os.path.commonpath([path.parent for path in paths]))
    info = QueueInfo(name, kb.fingerprint(decides=True), kb.labels.names, str(root), min_area, split_at)
    queue, skipped = Queue.begin(folder, info), {}
    names = [path.relative_to(root).as_posix() for path in paths]
    there = set(queue.image_ids())
    left = [i for i, image in enumerate(names) if image_id_of(image) not in there]
    given = Given([paths[i] for i in left], [names[i] for i in left])
    finder = _Finder(kb, forward or kb.engine(), min_area, split_at)
    found = finder.over(given) if cluster is None else _by(cluster, finder, given)
    with queue.storage.kept_open():
        for i, one in zip(left, track(found, "discovering", len(left)), strict=True):
            if isinstance(one, str):
                skipped[paths[i]] = one
            else:
                queue.add(names[i], file_sha256(paths[i]), *one)
    images, regions, copies, groups = group_queue(queue, kb)
    write_whole(queue.folder / "groups.jpg", encode_jpeg(overview(queue)))
    write_errors(queue.folder, skipped.items())
    return queue, DiscoveryResult(images, regions, copies, groups, tuple(skipped.values()))


Found: TypeAlias = tuple[RegionProposals, list[bytes]] | str
"""The regions of an image, and a JPEG of each; or why there are none."""


@dataclass(frozen=True, eq=False)
class _Finder:
    """Finds the unknown regions of images; the ``Work`` of a cluster, too."""

    kb: KnowledgeBase
    forward: Forward
    min_area: float
    split_at: float

    def to(self, device: torch.device) -> _Finder:
        """Return it with the knowledge base on ``device``."""
        kb, forward = moved_to(self.kb, self.forward, device)
        return replace(self, kb=kb, forward=forward)

    def __call__(self, images: Given) -> list[Found]:
        """Return what is found in each image."""
        return [*self.over(images)]

    def over(self, images: Given) -> Iterator[Found]:
        """Yield what is found in each image, in order."""

        def find(sample: Sample, output: Output) -> Found:
            proposals = self.kb.find_regions(sample, output, self.min_area, self.split_at)
            return proposals, [encode_jpeg(thumbnail(sample.image, r.mask, r.box)) for r in proposals.regions]

        return over_images(self.forward, images, find, lambda i, error: failure(images.images[i], error))


def _by(cluster: Cluster, finder: _Finder, images: Given) -> Iterator[Found]:
    """Yield what the workers of a cluster find in each image, in order."""
    for found in cluster.over(finder, [images.pick(numbers) for numbers in shards_of(len(images))]):
        yield from found


def group_queue(queue: Queue, kb: KnowledgeBase) -> tuple[int, int, int, int]:
    """Group all regions of a queue and store the groups; return the numbers of images, regions, copies and groups.

    Memory is that of the embeddings, 4 C bytes a region, and of ``clustering.cluster``.
    """
    assert kb.threshold is not None
    ids: list[str] = []
    names, embeddings, rows = [], [], []
    for image_id in queue.image_ids():
        entry = queue.entry(image_id)
        height, width = entry.size
        names.append(entry.name)
        for region, r in zip(entry.ids, entry.regions, strict=True):
            ids.append(region)
            embeddings.append(r.embedding)
            # Both free of units, so that the product is comparable between knowledge bases: in whitened features the
            # distance grows with sqrt(C).
            excess = (r.mean - kb.threshold.value) / kb.threshold.unit
            distance = 1.0 if r.distance is None else r.distance / np.sqrt(len(r.embedding))
            x, y, w, h = r.box
            # Image, the three factors of the priority, and the box as shares of the image.
            rows.append((len(names) - 1, r.share, excess, distance, x / width, y / height, w / width, h / height))
    if not ids:
        queue.write_groups([])
        return len(names), 0, 0, 0
    z, table = np.stack(embeddings), np.array(rows)
    priorities = priority(*table[:, 1:4].T)
    frames = frame_numbers(names)[table[:, 0].astype(int)]
    representative = find_duplicates(frames, table[:, 4:], z, priorities)
    # Near-duplicates are left out, or one object that was filmed for long would dominate the groups.
    kept = np.unique(representative)
    low = principal(z[kept])
    numbers = cluster(low)
    in_group, shown_by, groups = members_of(numbers), members_of(representative), []
    for number, g in enumerate(rank(numbers, priorities[kept], low), 1):
        members = kept[sort_by_typicality(in_group[g], low)]
        copies = {ids[m]: tuple(ids[i] for i in shown_by[m] if i != m) for m in members}
        total = float(priorities[members].sum())
        groups.append(Group(number, tuple(ids[m] for m in members), {r: c for r, c in copies.items() if c}, total))
    queue.write_groups(groups)
    return len(names), len(ids), len(ids) - len(kept), len(groups)


def frame_numbers(names: Sequence[str]) -> np.ndarray:
    """Return each image's place in the natural order of the names, (N,) int64; a new folder leaves a gap of one.

    Images in a row have consecutive numbers, so ``find_duplicates`` takes them for frames of one video.
    """
    order = sorted(range(len(names)), key=lambda i: natural_key(names[i]))
    numbers, number, folder = np.zeros(len(names), np.int64), -1, ""
    for i in order:
        here = str(PurePosixPath(names[i]).parent)
        # A gap at a new folder: its first image does not follow the last one of the folder before.
        number, folder = number + (1 if here == folder else 2), here
        numbers[i] = number
    return numbers


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return a sorting key by which ``a2`` comes before ``a10``."""
    return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(re.split("([0-9]+)", name))]
