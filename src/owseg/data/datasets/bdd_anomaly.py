"""BDD-Anomaly (Hendrycks et al., ICML 2022): BDD100K's labelled images, some of whose classes are anomalies.

The splits follow a rule, so that a tree of BDD100K, in any of its layouts, is read as it is and no file is copied: of
its train and val, an image with any pixel of an anomalous class is one of test, all others stay. In version 2 these
classes are train, motorcycle and bicycle, 16 are known, and the splits have 6280, 910 and 810 images. In version 1
("BDD-Anomaly*" of Besnier et al., 2021) bicycle is known, too: 17 classes, and 6688, 951 and 361 images.

BDD100K's masks hold Cityscapes' train ids, 255 void. The masks of hendrycks/anomaly-seg hold train ids + 2, and 1 for
void; its loader subtracts 1, which makes void the first of 17 outputs, to be trained like any class, and every void
pixel of test a known one. The kinds whose name ends in "-void" count it so; to train such a class, too, give one of the
others to ``owseg train --background``.

To find what an image shows every mask has to be read, once in a process; a bar shows how far that is.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from owseg._progress import track
from owseg._registry import Card
from owseg.data.dataset import Source
from owseg.data.datasets._layout import paired, read_ids
from owseg.data.datasets.bdd100k import find_labelled
from owseg.data.datasets.cityscapes import CITYSCAPES
from owseg.data.images import read_mask
from owseg.errors import NoSuchSplit, OwsegError
from owseg.labels import IGNORE, KNOWN

ANOMALIES = ("train", "motorcycle", "bicycle")
"""The anomalous classes of version 2; those of version 1 are the first two."""

SPLITS = ("train", "val", "test")


def bdd_anomaly(
    root: Path, split: str, name: str, anomalies: tuple[str, ...] = ANOMALIES, void: int = IGNORE
) -> Source:
    """Open a split of BDD-Anomaly in the tree ``root`` of BDD100K; images are called ``train/NAME`` and ``val/NAME``.

    train and val have the known classes, test has the ``anomalies`` besides; ``void`` is what void counts as. Raises
    ``OwsegError`` for another layout, an image without its mask, a value that the layout does not use, and a split
    without an image; ``NoSuchSplit`` for another split, or where BDD100K's train or val, of which it is made, is
    missing.
    """
    if split not in SPLITS:
        raise NoSuchSplit.of(root, split, SPLITS)
    frames: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for part in ("train", "val") if split == "test" else (split,):
        images, labels, codes = find_labelled(root, part)
        shown = _shown(labels, frozenset(raw for raw, i in codes.items() if i in map(CITYSCAPES.index, anomalies)))
        kept = [key for key in images if shown[key] == (split == "test")]
        frames.update({f"{part}/{key}": images[key] for key in kept})
        masks.update({f"{part}/{key}": labels[key] for key in kept})
    if not frames:
        which = "no image shows" if split == "test" else "every image shows"
        raise OwsegError(f"the split {split} of {root} is empty: {which} {', '.join(anomalies)}; take all of BDD100K.")
    classes = CITYSCAPES if split == "test" else CITYSCAPES.without(anomalies)
    ids = {i: classes.index(n) for i, n in enumerate(CITYSCAPES.names) if n in classes} | {IGNORE: void}
    decode = partial(read_ids, codes={raw: ids[i] for raw, i in codes.items() if i in ids})
    return paired(f"{name}:{split}", classes, frames, masks, decode)


def _shown(masks: dict[str, Path], values: frozenset[int]) -> dict[str, bool]:
    """Return for each mask whether any of its pixels has one of ``values``."""
    with ThreadPoolExecutor() as pool:  # Pillow decodes without holding the interpreter's lock
        found = pool.map(_values_of, masks.values())
        read = list(track(found, "finding anomalies in BDD100K's masks", len(masks)))
    return {key: not values.isdisjoint(present) for key, present in zip(masks, read, strict=True)}


def _values_of(path: Path) -> frozenset[int]:
    """Return the values that a mask holds."""
    about = path.stat()
    return _values_in(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=1 << 14)
def _values_in(path: Path, changed: int, size: int) -> frozenset[int]:
    """Return the values of the mask ``path``; ``changed`` and ``size`` tell it from what was there before."""
    return frozenset(np.flatnonzero(np.bincount(read_mask(path).ravel())).tolist())


CARDS = (
    Card(
        "bdd-anomaly",
        "BDD-Anomaly, version 2: train, motorcycle and bicycle are anomalies",
        make=partial(bdd_anomaly, name="bdd-anomaly"),
        source="bdd-data.berkeley.edu (register), as bdd100k",
        facts={
            "classes": "16, and 3 anomalies in test",
            "layout": "that of bdd100k, whose train and val are divided anew: 6280, 910 and 810 images",
            "splits": ("train", "val", "test"),
            "licence": "see its site",
        },
    ),
    Card(
        "bdd-anomaly-void",
        "BDD-Anomaly, version 2, as its authors' code counts: void is known",
        make=partial(bdd_anomaly, name="bdd-anomaly-void", void=KNOWN),
        source="bdd-data.berkeley.edu (register), as bdd100k",
        facts={
            "classes": "16, and 3 anomalies in test",
            "layout": "that of bdd-anomaly",
            "splits": ("train", "val", "test"),
            "licence": "see its site",
        },
    ),
    Card(
        "bdd-anomaly1",
        "BDD-Anomaly, version 1: train and motorcycle are anomalies, bicycle is known",
        make=partial(bdd_anomaly, name="bdd-anomaly1", anomalies=ANOMALIES[:2]),
        source="bdd-data.berkeley.edu (register), as bdd100k",
        facts={
            "classes": "17, and 2 anomalies in test",
            "layout": "that of bdd100k, whose train and val are divided anew: 6688, 951 and 361 images",
            "splits": ("train", "val", "test"),
            "licence": "see its site",
        },
    ),
    Card(
        "bdd-anomaly1-void",
        "BDD-Anomaly, version 1, as its authors' code counts: void is known",
        make=partial(bdd_anomaly, name="bdd-anomaly1-void", anomalies=ANOMALIES[:2], void=KNOWN),
        source="bdd-data.berkeley.edu (register), as bdd100k",
        facts={
            "classes": "17, and 2 anomalies in test",
            "layout": "that of bdd-anomaly1",
            "splits": ("train", "val", "test"),
            "licence": "see its site",
        },
    ),
)
