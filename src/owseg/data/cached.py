"""A data set whose images are decoded once, for training, which reads them in every epoch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from owseg.data.dataset import DataSet


def cached(data: DataSet, limit: int = 4 << 30) -> DataSet:
    """Return ``data`` with images and masks kept in memory once read, as long as all of them fit into ``limit`` bytes.

    What does not fit is read from disk each time. The arrays are the same at every reading: copy one to change it.
    """
    kept: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
    used = 0

    def read(i: int) -> tuple[np.ndarray, np.ndarray | None]:
        nonlocal used
        if i in kept:
            return kept[i]
        image, mask = data.source.read(i)
        size = image.nbytes + (0 if mask is None else mask.nbytes)
        if used + size <= limit:
            kept[i], used = (image, mask), used + size
        return image, mask

    return replace(data, source=replace(data.source, read=read))
