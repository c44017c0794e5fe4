"""Reading and writing pictures and label maps, with errors a person can act on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from owseg.errors import OwsegError
from owseg.labels import IGNORE

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
"""The picture files that a folder is searched for."""


def find_images(folder: Path) -> list[Path]:
    """Return the pictures directly in ``folder``, sorted by name; raise ``OwsegError`` if there are none."""
    if not folder.is_dir():
        raise OwsegError(f"{folder} is not a folder; give the folder that holds the pictures.")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not found:
        raise OwsegError(f"{folder} holds no picture ({', '.join(SUFFIXES)}).")
    return found


def by_stem(folder: Path) -> dict[str, Path]:
    """Return ``find_images(folder)`` by name without suffix; raise ``OwsegError`` where two share one."""
    return one_each((path.stem, path) for path in find_images(folder))


def one_each(named: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Return files by name; raise ``OwsegError`` where two share one, as nobody could say which is meant."""
    files: dict[str, Path] = {}
    for name, path in named:
        if name in files:
            raise OwsegError(f"{files[name]} and {path} go by one name, {name!r}; rename or remove one.")
        files[name] = path
    return files


def load_image(path: Path, upright: bool = False) -> Image.Image:
    """Return the picture in a file, decoded, and turned ``upright`` as its EXIF tag says.

    Raises ``OwsegError`` if it is missing, none, or too large to be meant.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image) if upright else image
    except FileNotFoundError:
        raise OwsegError(f"{path} does not exist.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise OwsegError(f"{path} cannot be read as a picture ({error}); replace or remove it.") from None


def read_image(path: Path, upright: bool = True) -> np.ndarray:
    """Read a picture as (3, H, W) uint8 RGB; grey is repeated, transparency dropped.

    It is turned ``upright`` as its EXIF tag says; a picture that has a mask stays as it is stored, as the mask is. A
    16-bit grey picture keeps its upper 8 bits. Raises ``OwsegError`` for what is no picture, or one of floats.
    """
    picture = load_image(path, upright)
    if picture.mode == "F":
        raise OwsegError(f"{path} holds floats, whose range nobody knows; store it with 8 bits a channel.")
    if picture.mode.startswith("I"):
        grey = np.clip(np.asarray(picture).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return np.stack([grey] * 3)
    return np.ascontiguousarray(np.asarray(picture.convert("RGB")).transpose(2, 0, 1))


def read_mask(path: Path) -> np.ndarray:
    """Read a label map as (H, W) uint8 ids: an 8-bit grey or palette picture, or a 1-bit one as 0 and 1.

    Raises ``OwsegError`` for any other picture: a JPEG does not keep ids, and greys of 2 or 4 bits are spread over 0 to
    255 when they are decoded.
    """
    image = load_image(path)
    if image.format == "JPEG":
        raise OwsegError(f"{path} is a JPEG, which alters the ids along every edge; save the mask as PNG.")
    if image.mode not in ("L", "P", "1"):
        raise OwsegError(f"{path} is a {image.mode} picture; a mask is 8-bit grey or palette, one id per pixel.")
    with Image.open(path) as header:  # nothing is decoded
        if re.search("L;[24]", str(header.tile)):
            raise OwsegError(f"{path} has greys of 2 or 4 bits, which are no ids; save the mask with 8 bits a pixel.")
    return np.asarray(image).astype(np.uint8)


def two_valued(paths: Iterable[Path]) -> bool:
    """Whether masks of one class hold 0 and 255 and nothing else between them: then 255 is the class, not void."""
    seen: set[int] = set()
    for path in paths:
        seen.update(_values(read_mask(path)))
        if seen - {0, IGNORE}:
            return False
    return seen == {0, IGNORE}


def read_marks(path: Path, white: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Read a mask of one class as (where it is, what is void), (H, W) bool each.

    0 is off the class, 255 is void, or the class itself where the masks of the folder are ``white`` (``two_valued``);
    one other value may mark the class. Raises ``OwsegError`` for several, as smoothed edges leave them, and for a mask
    that marks no pixel.
    """
    mask = read_mask(path)
    marks = sorted(_values(mask) - {0, IGNORE})
    if len(marks) > 1:
        raise OwsegError(
            f"{path} holds {len(marks)} values besides 0 and 255 ({', '.join(map(str, marks[:3]))}, ...): it looks "
            "anti-aliased, or shows several classes; save one class without smoothing, as 0 and 1."
        )
    void = np.zeros(mask.shape, bool) if white else mask == IGNORE
    marked = (mask > 0) & ~void
    if not marked.any():
        reason = "it is all void" if void.all() else "its 255 is void, as masks beside it mark with another value"
        told = f" ({reason})" if void.any() else ""
        raise OwsegError(f"the mask {path} marks no pixel{told}; mark what it is for, or leave its picture out.")
    return marked, void


def _values(mask: np.ndarray) -> set[int]:
    return set(np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist())
