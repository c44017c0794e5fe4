"""The synthetic street scenes as a data set: each is drawn when it is read."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from owseg._registry import Card
from owseg.data.dataset import Source
from owseg.errors import NoSuchSplit


def synthetic(root: Path, split: str) -> Source:
    """Open a split of the synthetic street scenes; ``root`` is not used, as nothing is stored on disk.

    Raises ``NoSuchSplit`` for another split than train, val, test and shots.
    """
    # Imported here, so that this file, which is imported with the first data set, does not load the painters.
    from owseg.data.synthetic.canvas import CLASSES
    from owseg.data.synthetic.scene import SPLITS

    if split not in SPLITS:
        raise NoSuchSplit(f"the synthetic scenes have no split {split!r}; they have {', '.join(SPLITS)}.")

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        image, labels = _drawn(split, i)
        return image.copy(), labels.copy()

    return Source(f"synthetic:{split}", CLASSES, tuple(f"{split}-{i:03d}" for i in range(SPLITS[split][1])), read)


# A scene takes 40 ms to draw, and a split is read several times: to fit, to calibrate, to evaluate. 256 are 50 MB.
@lru_cache(maxsize=256)
def _drawn(split: str, i: int) -> tuple[np.ndarray, np.ndarray]:
    from owseg.data.synthetic.scene import scene

    image, labels = scene(split, i)
    return np.ascontiguousarray(image.transpose(2, 0, 1)), labels


CARDS = (
    Card(
        "synthetic",
        "street scenes, drawn when they are read",
        make=synthetic,
        source="comes with owseg",
        facts={
            "classes": "8 and 4 kinds of anomalies",
            "layout": "nothing is stored",
            "splits": ("train", "val", "test", "shots"),
            "licence": "Apache-2.0",
            "generated": True,
        },
    ),
)
