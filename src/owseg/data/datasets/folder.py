"""A user's own images: ``images/``, ``masks/`` (where there is ground truth) and ``classes.json``."""

from __future__ import annotations

import os
from collections.abc import Container
from pathlib import Path

from owseg._files import read_at_most, read_json
from owseg._registry import Card
from owseg.data.dataset import Source
from owseg.data.files import Files
from owseg.data.images import by_stem
from owseg.errors import NoSuchSplit, OwsegError
from owseg.labels import LabelSpace

SPLITS = ("train", "val", "test")


def folder(root: Path, split: str) -> Source:
    """Open ``root/split``, or of ``root`` itself, if it has no folders for splits, the images that a list names.

    ``root/split.txt`` has the name of an image in each line, with or without folder and suffix. Without lists ``root``
    is the same under every split.

    The mask of ``images/NAME.*`` is ``masks/NAME.png`` (8-bit, ids of ``classes.json``, 255 void); an image without a
    mask has no target. ``classes.json`` is a list of names or of ``{"name", "color"}``; it may be in ``root``, for all
    splits. Raises ``NoSuchSplit`` for a split that has no folder, or no list where others have one, and ``OwsegError``
    for a missing file, a mask without an image, and a list that names none, another or one twice.
    """
    splits = [s for s in SPLITS if (root / s).is_dir()]
    base = root / split if (root / split).is_dir() else root
    lists = [] if splits else [s for s in SPLITS if (root / f"{s}.txt").is_file()]
    # To open all images as the split that is missing would mix train with test.
    if (splits or lists) and base == root and split not in lists:
        raise NoSuchSplit.of(root, split, splits or [f"{name}.txt" for name in lists])
    if not (base / "images").is_dir():
        raise OwsegError(f"{base} has no folder 'images'; a data set folder holds images/, masks/ and classes.json.")
    images = by_stem(base / "images")
    masks = by_stem(base / "masks") if (base / "masks").is_dir() else {}
    if orphans := sorted(set(masks) - set(images)):
        raise OwsegError(f"{base / 'masks'} holds {masks[orphans[0]].name}, but there is no image of that name.")
    names = _listed(root / f"{split}.txt", images) if lists else tuple(images)
    files = Files([images[name] for name in names], [masks.get(name) for name in names])
    name = f"folder:{base.name}/{split}.txt" if lists else f"folder:{base.name}"
    return Source(name, read_classes(base, root), names, files)


def _listed(path: Path, images: Container[str]) -> tuple[str, ...]:
    """Return the ``images``, by name without suffix, that a list names, in its order."""
    names: dict[str, None] = {}
    for line in filter(None, map(str.strip, os.fsdecode(read_at_most(path)).splitlines())):
        # As it stands first: a name without suffix may have dots.
        found = next((name for name in (Path(line).name, Path(line).stem) if name in images), None)
        if found is None or found in names:
            raise OwsegError(
                f"{path} names {line:.99}, which {'is in it twice' if found else 'is no image beside it'}."
            )
        names[found] = None
    if not names:
        raise OwsegError(f"{path} names no image; write a name a line.")
    return tuple(names)


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
            "layout": "[SPLIT/]images/NAME.*, masks/NAME.png, classes.json; or SPLIT.txt, a name a line",
            "splits": ("train", "val", "test"),
            "licence": "yours",
        },
    ),
)
