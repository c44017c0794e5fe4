"""What the layouts on disk have in common: splits that are folders, masks found by the image's name, codes of ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from owseg.data.dataset import Source
from owseg.data.files import Files
from owseg.data.images import SUFFIXES, by_unique_name, read_mask
from owseg.errors import NoSuchSplit, OwsegError
from owseg.labels import IGNORE, KNOWN, LabelSpace

ANOMALY = LabelSpace.of(["anomaly"], [(255, 0, 200)])
"""The one class of a data set that labels anomalies; every other pixel is known, of a class that is not given."""


ANOMALY_CODES = {0: KNOWN, 1: 0, IGNORE: IGNORE}
"""The usual values of its masks (SegmentMeIfYouCan, Fishyscapes): 0 not anomaly, 1 anomaly, 255 void."""


def split_folder(root: Path, split: str, folders: Mapping[str, str]) -> Path:
    """Return ``root / folders[split]``.

    Raises ``OwsegError`` if ``root`` has none of ``folders``, ``NoSuchSplit`` if it has some, but not that of
    ``split``.
    """
    present = [name for name, folder in folders.items() if (root / folder).is_dir()]
    if not present:
        wanted = " or ".join(dict.fromkeys(folders.values()))
        raise OwsegError(f"{root} is laid out in another way: it has no folder {wanted}; see owseg data list.")
    if split not in present:
        raise NoSuchSplit.of(root, split, present)
    return root / folders[split]


def only_split(root: Path, split: str, name: str) -> None:
    """Raise ``NoSuchSplit`` unless ``split`` is ``name``, the only one there is."""
    if split != name:
        raise NoSuchSplit.of(root, split, (name,))


def find_frames(folder: Path, ending: str = "", pattern: str = "*") -> dict[str, Path]:
    """Return the images below ``folder`` whose stem ends with ``ending``, sorted by key: the stem without ``ending``.

    ``pattern`` is a glob: with ``*/*`` they lie one folder deeper, whose name is part of the key (``town/frame``).
    Raises ``OwsegError`` if there are no such images, or two of one key.
    """
    found = by_unique_name(
        (path.relative_to(folder).with_suffix("").as_posix().removesuffix(ending), path)
        for path in sorted(folder.glob(pattern))
        if path.suffix.lower() in SUFFIXES and path.stem.endswith(ending) and not path.name.startswith(".")
    )
    if not found:
        raise OwsegError(f"{folder} holds no image named {pattern}{ending} ({', '.join(SUFFIXES)}).")
    return dict(sorted(found.items()))


def find_masks(frames: Mapping[str, Path], folder: Path, *endings: str, optional: bool = False) -> dict[str, Path]:
    """Return the mask of each frame by its key: the first of ``folder/KEY + ending`` that is a file.

    Raises ``OwsegError`` for an image that has none, unless masks are ``optional``, as in test splits.
    """
    found = {}
    for key, image in frames.items():
        # Endings in order of preference: some data sets have several encodings of a mask side by side.
        path = next((p for ending in endings if (p := folder / f"{key}{ending}").is_file()), None)
        if path is not None:
            found[key] = path
        elif not optional:
            missing = folder / f"{key}{endings[0]}"
            raise OwsegError(f"{image} has no label map {missing}; add it, or remove the image.")
    return found


def read_ids(path: Path, codes: Mapping[int, int]) -> np.ndarray:
    """Read a mask (H, W) uint8 and map its values to ids by ``codes``; raise ``OwsegError`` for any other value."""
    raw = read_mask(path)
    table = np.full(256, IGNORE, np.uint8)
    table[list(codes)] = list(codes.values())
    # A value that is not in the codes would silently be void.
    present = np.nonzero(np.bincount(raw.ravel(), minlength=256))[0].tolist()
    if undefined := sorted(set(present) - set(codes)):
        raise OwsegError(
            f"{path} holds the values {undefined}, which this data set does not use; take the mask as published."
        )
    ids: np.ndarray = table[raw]
    return ids


def paired(
    name: str,
    classes: LabelSpace,
    frames: Mapping[str, Path],
    masks: Mapping[str, Path],
    decode: Callable[[Path], np.ndarray],
    finer: bool = False,
) -> Source:
    """Return a source of the images ``frames[key]``, with the targets ``decode(masks[key])`` where there is a mask."""
    files = Files([*frames.values()], [masks.get(key) for key in frames], decode)
    return Source(name, classes, tuple(frames), files, finer)
