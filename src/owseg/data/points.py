"""Pixels drawn at random from every class that an image shows, to sample the scores of a class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from owseg.data.dataset import DataSet
from owseg.labels import KNOWN

SAMPLES, ALL_SAMPLES = 400, 100_000
"""Pixels of a class that are drawn at most: of one image, and of all."""


def points_to_sample(data: DataSet, seed: int = 0) -> Callable[[str], dict[str, np.ndarray]]:
    """Return a function from an image of ``data`` to pixels drawn at random from each class that it shows.

    Classes have their names in the data; "known" is for pixels of some known class. The same ``seed`` draws the same
    pixels.
    """
    number = {name: i for i, name in enumerate(data.source.ids)}
    names = {**dict(enumerate(data.source.classes.names)), KNOWN: "known"}
    samples = max(1, min(SAMPLES, ALL_SAMPLES // max(1, len(data))))

    def points(image: str) -> dict[str, np.ndarray]:
        # A generator of its own for each image, so that neither order nor process matters.
        raw, rng = data.source.read(number[image])[1], np.random.default_rng([seed, number[image]])
        assert raw is not None, "maps have a ground truth"
        flat, found = raw.ravel(), {}
        for i in np.unique(flat).tolist():
            if i in names:
                where = np.flatnonzero(flat == i)
                found[names[i]] = rng.choice(where, min(len(where), samples), replace=False).astype(np.int32)
        return found

    return points
