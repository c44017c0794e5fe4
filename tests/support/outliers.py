"""Made-up outliers, images without ground truth to paste them into, and settings of a short training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from owseg.data.dataset import DataSet
from owseg.data.outliers import Outlier, Outliers
from owseg.training.config import ResidualConfig
from tests.support import tiny

FAST = ResidualConfig(epochs=3, batch=4, crop=(48, 64), scale=(1.0, 1.2), jitter=0.0, sizes=(0.3, 0.6), lr=1e-2,
                      samples=32, validate_every=1)  # fmt: skip


def objects(count: int = 16) -> Outliers:
    """Stripes in vivid colours, on black where they were photographed."""

    def read(i: int) -> Outlier:
        image, mask = np.zeros((3, 40, 40), np.uint8), np.zeros((40, 40), bool)
        mask[4:36, 6:34] = True
        image[0, :, ::4], image[1, :, 2::4] = 255, 40 * (i % 3)
        return Outlier(image * mask, mask, f"o{i}")

    return Outliers("objects", tuple(f"o{i}" for i in range(count)), (frozenset({"thing"}),) * count, read)


def inlier_images(count: int = 12) -> DataSet:
    """Images without ground truth."""
    data = tiny.dataset(count)
    return replace(data, source=replace(data.source, read=lambda i: (tiny.image(i), None)))
