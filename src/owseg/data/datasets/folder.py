"""A user's own images: ``images/``, ``masks/`` (where there is ground truth) and ``classes.json``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from owseg._files import read_json
from owseg._registry import Card
from owseg.data.dataset import Source
from owseg.data.images import by_stem, read_image, read_mask
from owseg.errors import NoSuchSplit, OwsegError
from owseg.labels import LabelSpace

SPLITS = ("train", "val", "test")


def folder(root: Path, split: str) -> Source:
    """Open ``root/split``, or ``root`` itself if it has no folders for splits: then it is the same under every split.

    The mask of ``images/NAME.*`` is ``masks/NAME.png`` (8-bit, ids of ``classes.json``, 255 void); an image without a
    mask has no target. ``classes.json`` is a list of names or of ``{"name", "color"}``; it may be in ``root``, for all
    splits. Raises ``NoSuchSplit`` for a split that has no folder, ``OwsegError`` for a missing file and a mask without
    an image.
    """
    splits = [s for s in SPLITS if (root / s).is_dir()]
    base = root / split if (root / split).is_dir() else root
    if splits and base == root:  # to open all images as the split that is missing would mix train with test
        raise NoSuchSplit.of(root, split, splits)
    if not (base / "images").is_dir():
        raise OwsegError(f"{base} has no folder 'images'; a data set folder holds images/, masks/ and classes.json.")
    images = by_stem(base / "images")
    masks = by_stem(base / "masks") if (base / "masks").is_dir() else {}
    if orphans := sorted(set(masks) - set(images)):
        raise OwsegError(f"{base / 'masks'} holds {masks[orphans[0]].name}, but there is no image of that name.")
    names = tuple(images)

    def read(i: int) -> tuple[np.ndarray, np.ndarray | None]:
        mask = masks.get(names[i])
        return read_image(images[names[i]], upright=mask is None), None if mask is None else read_mask(mask)

    return Source(f"folder:{base.name}", read_classes(base, root), names, read)


def read_names(path: Path) -> LabelSpace:
    """Read a list of classes; raise ``OwsegError``, which names the file, where there is none."""
    try:
        return LabelSpace.from_json(read_json(path))
    except FileNotFoundError:
        raise OwsegError(f"{path} does not exist; name a JSON list of classes.") from None
    except OwsegError as error:
        raise OwsegError(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def read_classes(*folders: Path) -> LabelSpace:
    """Read the first ``classes.json`` in ``folders``; raise ``OwsegError`` if there is none or it cannot be read."""
    for place in folders:
        path = place / "classes.json"
        if path.is_file():
            return read_names(path)
    first, *others = dict.fromkeys(folders)
    also = "".join(f", nor has {place}" for place in others)
    where = "into either" if others else "there"
    raise OwsegError(
        f"{first} has no classes.json{also}; write the class names {where}, in the order of their ids, such as "
        '["soil", "crop"].'
    )


CARDS = (
    Card(
        "folder",
        "your own images",
        make=folder,
        source="you",
        facts={
            "classes": "yours: classes.json",
            "layout": "[SPLIT/]images/NAME.*, masks/NAME.png, classes.json",
            "splits": ("train", "val", "test"),
            "licence": "yours",
        },
    ),
)
