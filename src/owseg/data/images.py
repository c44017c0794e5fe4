"""Reading images and label maps, with errors a person can act on."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from owseg._files import state_of
from owseg.data.decoding import FORMATS, load_image
from owseg.errors import OwsegError
from owseg.labels import IGNORE

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
"""The image files that a folder is searched for."""

FEW_BITS = 1 << 12
"""A 16-bit image whose highest value is below this is taken for one of a camera of 12 bits or fewer, not scaled up."""

ImageLike: TypeAlias = "str | Path | bytes | np.ndarray | Image.Image | Tensor"
"""What can be read as one image (see ``as_image``)."""


def no_image(folder: Path) -> OwsegError:
    """Return the error about a folder without images."""
    return OwsegError(f"{folder} holds no image ({', '.join(SUFFIXES)}); give a folder that does.")


def unpaired(path: Path, other: str, folder: Path) -> OwsegError:
    """Return the error about an image without its mask in ``folder``, or the ``other`` way round."""
    return OwsegError(f"{path} has no {other} of the same name in {folder}; add it, or remove this file.")


def find_images(folder: Path) -> list[Path]:
    """Return the images directly in ``folder``, sorted by name; raise ``OwsegError`` if there are none."""
    if not folder.is_dir():
        raise OwsegError(f"{folder} {state_of(folder)}; give the folder that holds the images.")
    # macOS leaves a hidden ._NAME.jpg, which is no image, beside each NAME.jpg on foreign disks.
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not found:
        raise no_image(folder)
    return found


def by_stem(folder: Path) -> dict[str, Path]:
    """Return ``find_images(folder)`` by name without suffix; raise ``OwsegError`` where two share one."""
    return by_unique_name((path.stem, path) for path in find_images(folder))


def by_unique_name(named: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Return files by name; raise ``OwsegError`` where two share one, as it is not clear which is meant."""
    files: dict[str, Path] = {}
    for name, path in named:
        if name in files:
            raise OwsegError(f"{files[name]} and {path} have the same name, {name!r}; rename or remove one.")
        files[name] = path
    return files


def read_image(path: str | Path, upright: bool = True) -> np.ndarray:
    """Read an image as (3, H, W) uint8 RGB; grey is repeated, transparency dropped.

    It is turned ``upright`` as its EXIF tag says; read an image that has a mask with ``upright=False``, as the mask has
    no such tag. A 16-bit grey image keeps its upper 8 bits; one that uses 12 or fewer gets a warning. Raises
    ``OwsegError`` for what is not an image, or one of floats.
    """
    path = Path(path).expanduser()
    return _rgb(load_image(path, upright), str(path))


def as_image(image: ImageLike) -> np.ndarray:
    """Return an image as (3, H, W) uint8 RGB: a path, the bytes of a file, a PIL image, an array or a tensor.

    Arrays and tensors are uint8 of (3, H, W) or (H, W, 3), or (H, W), which is grey. Raises ``OwsegError`` for anything
    else, and for an array of (3, H, 3), which could be either.
    """
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, bytes):
        return _rgb(load_image(io.BytesIO(image), upright=True, name="the data"), "the data")
    if isinstance(image, Image.Image):
        return _rgb(ImageOps.exif_transpose(image), "the image")
    array: Any = image
    if hasattr(array, "detach"):  # a tensor; torch is not imported to find that out
        array = array.detach().cpu().numpy()
    if not isinstance(array, np.ndarray):
        raise OwsegError(f"an image is a path, a PIL image, an array or a tensor, not {type(image).__name__}.")
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        hint = "; give a list of images" if array.ndim == 4 else ""
        raise OwsegError(f"an image is (3, H, W) or (H, W, 3) of uint8, RGB, not {array.shape} {array.dtype}{hint}.")
    if array.ndim == 2:
        return np.stack([array] * 3)
    first, last = array.shape[0] == 3, array.shape[2] == 3
    if first == last:
        why = "could be (3, H, W) or (H, W, 3)" if first else "is neither (3, H, W) nor (H, W, 3)"
        raise OwsegError(f"an array of {array.shape} {why}; give three channels, first or last.")
    return np.require(array if first else array.transpose(2, 0, 1), requirements=("C", "W"))  # torch warns without W


def image_name(image: ImageLike) -> str:
    """Return the file name of an image that is given as a path; an empty string for any other."""
    return Path(image).name if isinstance(image, str | Path) else ""


def failure(path: str | Path, error: Exception, ways: str = "make it smaller") -> str:
    """Return in one sentence why an image could not be processed; a lack of memory with its size and ``ways`` out.

    torch raises a RuntimeError where memory runs out.
    """
    if isinstance(error, OwsegError):
        said = str(error)
        return said if str(path) in said else f"{path}: {said}"
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, MemoryError) or re.search(r"alloc|out of memory|not enough memory", text, re.IGNORECASE):
        with suppress(OSError, UnidentifiedImageError), Image.open(path, formats=FORMATS) as image:
            return f"{path} needs more memory than there is ({image.width}x{image.height}); {ways}."
        return f"{path} needs more memory than there is; {ways}."
    return f"{path}: {text}"


def _rgb(image: Image.Image, what: str) -> np.ndarray:
    if image.mode == "F":
        raise OwsegError(f"{what} holds floats of unknown range; store it with 8 bits a channel.")
    if image.mode.startswith("I"):  # 16 bits, which Pillow's own conversion would clip to 8 instead of scaling them
        values = np.asarray(image).astype(np.int64)
        if 0 < values.max() < FEW_BITS:
            bits = int(values.max()).bit_length()
            why = f"{what} uses {bits} of its 16 bits a pixel, of which the upper 8 are read: it is nearly black"
            warnings.warn(f"{why}; multiply its values by {1 << (16 - bits)}.", stacklevel=3)
        return np.stack([np.clip(values >> 8, 0, 255).astype(np.uint8)] * 3)
    # torch warns of an array that cannot be written to.
    return np.require(np.asarray(image.convert("RGB")).transpose(2, 0, 1), requirements=("C", "W"))


def read_mask(path: Path) -> np.ndarray:
    """Read a label map as (H, W) uint8 ids: an 8-bit grey or palette image, or a 1-bit one as 0 and 1.

    Raises ``OwsegError`` for any other image: a JPEG does not keep ids, and greys of 2 or 4 bits are scaled to 0..255
    when they are decoded.
    """
    image = load_image(path)
    if image.format in ("JPEG", "MPO"):
        raise OwsegError(f"{path} is a JPEG, which alters the ids along every edge; save the mask as PNG.")
    if image.mode not in ("L", "P", "1"):
        raise OwsegError(f"{path} has {image.mode} pixels; save the mask as 8-bit grey or palette, one id per pixel.")
    with Image.open(path, formats=FORMATS) as header:  # nothing is decoded
        if re.search("L;[24]", str(header.tile)):
            raise OwsegError(f"{path} has greys of 2 or 4 bits, not ids; save the mask with 8 bits a pixel.")
    return np.asarray(image).astype(np.uint8)


def are_black_and_white(paths: Iterable[Path]) -> bool:
    """Return whether the masks of one class hold 0 and 255 and no other value: then 255 is the class, not void."""
    values: set[int] = set()
    for path in paths:
        values.update(_values(read_mask(path)))
        if values - {0, IGNORE}:
            return False
    return values == {0, IGNORE}


def read_class_mask(path: Path, white: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Read a mask of one class as (where the class is, what is void), (H, W) bool each.

    0 is off the class and one other value is on it; 255 is void, or with ``white`` the class (see
    ``are_black_and_white``). Raises ``OwsegError`` for several other values, which smoothing leaves at edges, and for a
    mask that marks no pixel.
    """
    mask = read_mask(path)
    marks = sorted(_values(mask) - {0, IGNORE})
    if len(marks) > 1:
        raise OwsegError(
            f"{path} holds {len(marks)} values besides 0 and 255 ({', '.join(map(str, marks[:3]))}, ...): it is "
            "anti-aliased, or shows several classes; save one class without smoothing, as 0 and 1."
        )
    void = np.zeros(mask.shape, bool) if white else mask == IGNORE
    marked = (mask > 0) & ~void
    if not marked.any():
        reason = "it is all void" if void.all() else "its 255 is void, as other masks of the folder use another value"
        because = f" ({reason})" if void.any() else ""
        raise OwsegError(f"the mask {path} marks no pixel{because}; mark what it is for, or leave its image out.")
    return marked, void


def _values(mask: np.ndarray) -> set[int]:
    # On millions of pixels counting is faster than np.unique.
    return set(np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist())
