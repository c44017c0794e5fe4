"""Images in the body of a request: of a known type, of a bounded size, and whole."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from starlette.datastructures import UploadFile
from starlette.requests import Request

from owseg.data.decoding import FORMATS
from owseg.data.images import as_image
from owseg.errors import OwsegError
from owseg.serve.refused import Refused

TYPES = ("image/", "application/octet-stream")
MULTIPART = "multipart/form-data"

KINDS = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"

MAX_RATIO = 16
"""How many times as long as the shorter side the longer one may be: a network enlarges the shorter to its own size."""

HOW = f"send the bytes of a {KINDS} as Content-Type: image/..., or files as {MULTIPART}."


async def single_image(request: Request) -> tuple[str, bytes]:
    """Return the name, empty where there is none, and the bytes of the one image that a request brings."""
    kind = _content_type(request)
    if kind.startswith(TYPES):
        return "", await request.body()
    if kind != MULTIPART:
        raise Refused(415, f"this is of type {kind or 'none'}; {HOW}")
    found = await several_images(request, 1)
    return found[0]


async def several_images(request: Request, most: int) -> list[tuple[str, bytes]]:
    """Return the names and the bytes of the 1 to ``most`` files that a request brings as a form."""
    if (kind := _content_type(request)) != MULTIPART:
        raise Refused(415, f"this is of type {kind or 'none'}; send files as {MULTIPART}.")
    async with request.form(max_files=most + 1, max_fields=16) as form:
        files = [file for _, file in form.multi_items() if isinstance(file, UploadFile)]
        if not files:
            raise Refused(422, f"the form has no file; {HOW}")
        if len(files) > most:
            raise Refused(413, f"at most {most} image(s) can be sent here at once; send the others later.")
        return [(file.filename or "", await file.read()) for file in files]


def decoded(data: bytes, max_pixels: int) -> np.ndarray:
    """Return the image (3, H, W) uint8 in the bytes of a file.

    Raises ``Refused``: 415 for what is no image, 413 for one of more than ``max_pixels``, which is then not decoded,
    and 422 for one that is cut off or damaged, or a strip longer than ``MAX_RATIO`` times its width.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as header:
            width, height = header.size
    except UnidentifiedImageError:
        raise Refused(415, f"the data cannot be read as an image (it is no {KINDS}); convert it.") from None
    except Image.DecompressionBombError:
        raise Refused(413, f"the image has more than {max_pixels:,} pixels; make it smaller.") from None
    except Exception as error:  # Pillow's readers raise whatever they meet in a header
        raise Refused(422, f"the image cannot be read ({_one_line(error)}); replace it.") from None
    if width * height > max_pixels:
        raise Refused(413, f"the image has {width}x{height}, more than {max_pixels:,} pixels; make it smaller.")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise Refused(422, f"the image has {width}x{height}, one side above {MAX_RATIO} times the other; cut it.")
    try:
        return as_image(data)
    except OwsegError as error:
        raise Refused(422, str(error)) from None


def _one_line(error: Any) -> str:
    return f"{' '.join(str(error).split()):.200}" or type(error).__name__


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
