"""The images of a queue and their unknown regions: what ``owseg discover`` puts in, and what is read of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from owseg._files import write_whole
from owseg.data.masks import Rle
from owseg.discovery import rows
from owseg.discovery.contents import ImageSummary, QueueImage, QueueInfo, image_id_of, is_region_id, read_pixels
from owseg.discovery.database import THUMBNAILS
from owseg.discovery.storage import Storage
from owseg.errors import OwsegError
from owseg.knowledge.regions import Region, RegionProposals


@dataclass(frozen=True)
class QueueImages:
    """The images of a queue on disk. Regions are named by their ids, ``IMAGE-K``, and images by theirs.

    ``info`` says how the queue was made.
    """

    folder: Path
    info: QueueInfo
    _summaries: dict[str, ImageSummary] = field(default_factory=dict, init=False, repr=False, compare=False)

    def has(self, name: str) -> bool:
        """Return whether the image ``name`` is in the queue."""
        with self.storage.reading() as db:
            return rows.has_image(db, image_id_of(name))

    def add(self, name: str, digest: str, proposals: RegionProposals, thumbnails: Sequence[bytes]) -> str:
        """Store the unknown regions of the image ``name``, whose file has the SHA-256 ``digest``; return its id."""
        image_id, unknown = image_id_of(name), Rle.of(proposals.unknown)
        for k, jpeg in enumerate(thumbnails, 1):
            write_whole(self.folder / THUMBNAILS / f"{image_id}-{k}.jpg", jpeg)
        # Last: an image is in the queue once it is in the database, and then all that belongs to it is, too.
        with self.storage.writing(synced=False) as db:
            if not rows.has_image(db, image_id):  # nobody else was faster
                rows.insert_image(db, QueueImage(image_id, name, digest, unknown.size, unknown, proposals.regions))
        return image_id

    def image_ids(self) -> list[str]:
        """Return the ids of all images, sorted."""
        with self.storage.reading() as db:
            return rows.read_image_ids(db)

    def summary(self, image_id: str) -> ImageSummary:
        """Return what lists of regions need of an image; raise ``OwsegError`` if there is none."""
        if image_id not in self._summaries:
            with self.storage.reading() as db:  # of all images at once
                self._summaries.update(rows.read_summaries(db))
        if image_id not in self._summaries:
            raise OwsegError(f"{image_id!r:.99} names no image of {self.folder}.")
        return self._summaries[image_id]

    def entry(self, image_id: str) -> QueueImage:
        """Return what is stored of an image; raise ``OwsegError`` if there is none or it is damaged."""
        with self.storage.reading() as db:
            found = rows.read_image(db, image_id)
        if found is None:
            raise OwsegError(f"{image_id!r} names no image of {self.folder}.")
        return found

    def region(self, region: str) -> Region:
        """Return a region; raise ``OwsegError`` if there is none of that id."""
        image_id, k = self.locate(region)
        return self.entry(image_id).regions[k - 1]

    def image(self, image_id: str) -> np.ndarray:
        """Return the pixels of an image, (3, H, W) uint8; raise ``OwsegError`` if its file is gone or has changed."""
        return read_pixels(self.info.root, self.entry(image_id))

    def thumbnail(self, region: str) -> Path:
        """Return the path of the JPEG that shows ``region``."""
        self.locate(region)
        return self.folder / THUMBNAILS / f"{region}.jpg"

    def locate(self, region: str, regions_in: Callable[[str], int] | None = None) -> tuple[str, int]:
        """Return a region's image and its number in it, from 1; raise ``OwsegError`` if there is no such region.

        ``regions_in`` counts the regions of an image; by default they are looked up.
        """
        if is_region_id(region):
            image_id, _, k = region.partition("-")
            if int(k) <= (regions_in or self._regions_in)(image_id):
                return image_id, int(k)
        raise OwsegError(f"{region!r} names no region of {self.folder}.")

    def _regions_in(self, image_id: str) -> int:
        with self.storage.reading() as db:
            return rows.count_regions(db, image_id)

    @cached_property
    def storage(self) -> Storage:
        """Where it is stored."""
        return Storage(self.folder)
