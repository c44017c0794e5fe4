"""Fishyscapes (Blum et al., IJCV 2021): the validation sets of Lost & Found (100 images) and Static (30).

The authors publish the masks (0 not anomaly, 1 anomaly, 255 void), but not the images: those of Lost & Found are images
of Lost and Found, those of Static are images of Cityscapes to which published differences are added. Collections of
anomaly data sets have both as ``images/N.*`` and ``labels_masks/N.png``, or ``original`` and ``labels``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from owseg._registry import Card
from owseg.data.dataset import Source
from owseg.data.datasets._layout import ANOMALY, ANOMALY_CODES, find_frames, find_masks, only_split, paired, read_ids
from owseg.data.images import read_image
from owseg.errors import OwsegError

COLLECTED = (("images", "labels_masks"), ("images", "labels_masks_fullres"), ("original", "labels"))
"""Folders of images and of masks in such collections; ``labels_masks_fullres`` belongs to images that are reduced."""


PUBLISHED = {
    "lostfound": (("fishyscapes_lostandfound", "*_labels"), ("labels/val", "*_fishy-labels")),
    "static": (("fs_val_v3", "*_labels"), ("fs_val_v2", "*_labels"), ("fs_val_v1", "*_labels")),
}
"""Folders and names of the published masks: archives of hermannsblum/bdl-benchmark, and SegmentMeIfYouCan's copy."""


def fishyscapes(root: Path, split: str, kind: str) -> Source:
    """Open the kind "lostfound" or "static", whose only split is val.

    A published mask has the name of its image in its own: the image is below ``leftImg8bit`` or, of Lost & Found, in
    ``laf_images``; to those of Static the published differences ``*rgb.npz`` are added. In collections masks may be
    larger than images (see ``Source.finer``). Raises ``OwsegError`` for missing files and undefined values.
    """
    name = f"fishyscapes-{kind}:val"
    # Collections first: they hold all that is needed, published masks need another data set.
    for images, labels in COLLECTED:
        if (root / images).is_dir() and (root / labels).is_dir():
            only_split(root, split, "val")
            frames = find_frames(root / images)
            masks = find_masks(frames, root / labels, ".png", "_labels_semantic.png")
            return paired(name, ANOMALY, frames, masks, partial(read_ids, codes=ANOMALY_CODES), finer=True)
    for folder, pattern in PUBLISHED[kind]:
        if (root / folder).is_dir():
            only_split(root, split, "val")
            return _published(root, sorted((root / folder).glob(f"{pattern}.png")), folder, pattern, kind)
    places = " or ".join(["images and labels_masks", *(folder for folder, _ in PUBLISHED[kind])])
    raise OwsegError(f"{root} is laid out in another way: it has no folder {places}; see owseg data list.")


def _published(root: Path, found: list[Path], folder: str, pattern: str, kind: str) -> Source:
    """Open published masks with the images of the data set from which they were made."""
    if not found:
        raise OwsegError(f"{root / folder} holds no mask named {pattern}.png.")
    ending, numbered = pattern.removeprefix("*"), not pattern.endswith("fishy-labels")
    masks = {path.stem.removesuffix(ending): path for path in found}
    pool = {p.stem.removesuffix("_leftImg8bit"): p for p in (root / "leftImg8bit").glob("*/*/*_leftImg8bit.*")}
    pool |= {p.stem.removesuffix("_leftImg8bit"): p for p in (root / "laf_images").glob("*_leftImg8bit.*")}
    frames = {}
    for key, path in masks.items():
        base = key.partition("_")[2] if numbered else key  # 0000_04_Maurener_Weg_8_000000_000030
        if base not in pool:
            raise OwsegError(f"{path} labels {base}_leftImg8bit.png, which is not below {root / 'leftImg8bit'}.")
        frames[key] = pool[base]
    source = paired(f"fishyscapes-{kind}:val", ANOMALY, frames, masks, partial(read_ids, codes=ANOMALY_CODES))
    if kind == "lostfound":
        return source
    overlays = {key: _overlay(path) for key, path in masks.items()}

    def read(i: int) -> tuple[np.ndarray, np.ndarray | None]:
        key = source.ids[i]
        image, target = read_image(frames[key], upright=False).astype(np.int32), source.read(i)[1]
        added = _difference(overlays[key])
        if added.shape != image.shape:
            raise OwsegError(
                f"{overlays[key]} is of the size {added.shape[1:]}, its image {image.shape[1:]}; unpack both again."
            )
        # Differences are negative, too, so the sum is taken in int32.
        return np.clip(image + added, 0, 255).astype(np.uint8), target

    return Source(source.name, ANOMALY, source.ids, read)


def _overlay(mask: Path) -> Path:
    """Return the differences of the image of a mask: the file of the same number that ends in ``rgb.npz``."""
    number = mask.name.partition("_")[0]
    found = sorted(mask.parent.glob(f"{number}_*rgb.npz"))
    if not found:
        raise OwsegError(f"{mask} has no differences {number}_*rgb.npz beside it.")
    return found[0]


def _difference(path: Path) -> np.ndarray:
    """Read a file of differences as (3, H, W) int32."""
    try:
        with np.load(path, allow_pickle=False) as arrays:  # a pickle from elsewhere could run any code
            difference: np.ndarray = arrays["rgb"].astype(np.int32).transpose(2, 0, 1)
            return difference
    except Exception as error:  # zip, header and array errors have no common type
        raise OwsegError(f"{path} cannot be read as differences ({error}); unpack it again.") from None


CARDS = (
    Card(
        "fishyscapes-lostfound",
        "Fishyscapes Lost & Found, 100 frames",
        make=partial(fishyscapes, kind="lostfound"),
        source="fishyscapes.com",
        facts={
            "classes": "known, anomaly",
            "layout": (
                "fishyscapes_lostandfound/*_labels.png with Lost and Found's leftImg8bit/; or "
                "images/N.*, labels_masks/N.png (labels_masks_fullres if images are reduced)"
            ),
            "splits": ("val",),
            "licence": "see its site",
        },
    ),
    Card(
        "fishyscapes-static",
        "Fishyscapes Static, 30 frames",
        make=partial(fishyscapes, kind="static"),
        source="fishyscapes.com",
        facts={
            "classes": "known, anomaly",
            "layout": (
                "fs_val_v3/*_labels.png and *rgb.npz with Cityscapes' leftImg8bit/; or images/N.*, labels_masks/N.png"
            ),
            "splits": ("val",),
            "licence": "see its site",
        },
    ),
)
