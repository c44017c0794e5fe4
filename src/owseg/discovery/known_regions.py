"""The regions of a queue that a reviewer marked as known classes, as images to calibrate on besides others."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from owseg.data.dataset import DataSet, Source
from owseg.discovery.contents import image_of
from owseg.discovery.queue import Queue
from owseg.errors import OwsegError
from owseg.labels import IGNORE, KNOWN, LabelSpace


def known_regions(folder: str | Path, labels: LabelSpace) -> DataSet:
    """Return the images of a queue with regions that were marked as known (``Queue.mark_known``): KNOWN, all else void.

    Raises ``OwsegError`` for a folder that is no queue, where none was marked, and for a class that ``labels`` does not
    have; an image that has changed raises one when it is read.
    """
    queue = Queue.open(folder)
    marked = {region: decision.known for region, decision in queue.decisions().items() if decision.known is not None}
    if not marked:
        raise OwsegError(
            f"no region of {queue.folder} was marked as known; do so in `owseg review` (K), or leave it out."
        )
    if others := sorted(set(marked.values()) - set(labels.names)):
        raise OwsegError(f"{queue.folder} has regions of {others[0]!r}, which is no class of this knowledge base.")
    images = tuple(dict.fromkeys(image_of(region) for region in marked))

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        entry = queue.entry(images[i])
        target = np.full(entry.size, IGNORE, np.uint8)
        for region_id, region in zip(entry.ids, entry.regions, strict=True):
            if region_id in marked:
                target[region.mask.mask()] = KNOWN
        return queue.image(images[i]), target

    return DataSet(Source(f"{len(marked)} regions of {queue.folder.name}", labels, images, read), labels)
