"""Image files decoded: formats by allow-list, a limit of pixels that is checked first, and none that is cut off."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from owseg.data.masks import MAX_PIXELS, check_size
from owseg.errors import OwsegError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM")
"""The formats that are read, whatever a file is called; of others, Pillow gives EPS to a program of the machine."""

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The passes of an interlaced PNG: the first column and row, and the steps to the next (PNG, 8.2)."""

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""The channels of a PNG by its colour type (PNG, 11.2.2)."""


def load_image(file: Path | io.BytesIO, upright: bool = False, name: str = "") -> Image.Image:
    """Return the image in a file, decoded, and turned ``upright`` as its EXIF tag says; errors call it ``name``.

    Raises ``OwsegError`` if it is missing, of none of the ``FORMATS``, cut off, or of more than ``MAX_PIXELS`` pixels,
    for which its header alone is read. Warns of a JPEG that seems to be cut off: decoders fill up what is missing.
    """
    what = name or str(file)
    try:
        with Image.open(file, formats=FORMATS) as image:
            check_size(image.height, image.width)
            image.load()  # Pillow decodes when pixels are asked for, which is too late to say which file is broken
            if image.format == "PNG" and _may_lack_rows(image):
                _check_rows(file.getvalue() if isinstance(file, io.BytesIO) else file.read_bytes())
            elif image.format in ("JPEG", "MPO") and _ends_in_grey(image):
                warnings.warn(f"{what} ends in plain grey, as a JPEG that is cut off does; look at it.", stacklevel=2)
            return ImageOps.exif_transpose(image) if upright else image
    except OwsegError as error:
        raise OwsegError(f"{what}: {error}") from None
    except FileNotFoundError:
        raise OwsegError(f"{what} does not exist.") from None
    except UnidentifiedImageError:
        kinds = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise OwsegError(f"{what} cannot be read as an image (it is no {kinds}); convert or remove it.") from None
    except Image.DecompressionBombError:  # Pillow's own limit, which is higher
        raise OwsegError(
            f"{what} is larger than {MAX_PIXELS:,} pixels; cut it into parts, or make it smaller."
        ) from None
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error) as error:
        raise OwsegError(f"{what} cannot be read as an image ({error}); replace or remove it.") from None


def _may_lack_rows(image: Image.Image) -> bool:
    """Return whether the last row holds zeros alone: what Pillow leaves where the data ends too early."""
    last = image.crop((0, image.height - 1, image.width, image.height))
    return bool(image.info.get("interlace")) or not np.asarray(last).any()


def _check_rows(data: bytes) -> None:
    """Raise ``OwsegError`` for a PNG with fewer bytes of pixels than its size asks for."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    sides = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    # Each row of a pass begins with a byte that names its filter.
    wanted = sum(h * (1 + -(-w * CHANNELS.get(colour, 0) * depth // 8)) for w, h in sides if w > 0 and h > 0)
    inflate, found = zlib.decompressobj(), 0
    for part in _pixel_data(data):
        while part and found < wanted:
            found += len(inflate.decompress(part, 1 << 20))
            part = inflate.unconsumed_tail
    if found < wanted:
        raise OwsegError(f"it is cut off ({found / wanted:.0%} of its pixels are there); replace or remove it.")


def _pixel_data(data: bytes) -> Iterator[bytes]:
    """Yield the contents of the chunks IDAT of a PNG."""
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind == b"IDAT":
            yield data[at + 8 : at + 8 + length]
        at += length + 12


def _ends_in_grey(image: Image.Image) -> bool:
    """Return whether the last row of blocks, 8 rows or what is left of them, is grey 128, and not all of the image."""
    rows = (image.height - 1) % 8 + 1
    last = np.asarray(image.crop((0, image.height - rows, image.width, image.height)))
    return bool((last == 128).all()) and not (np.asarray(image) == 128).all()
