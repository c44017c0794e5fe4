"""LabelMe's JSON, one file an image, with polygons and masks; it is read, not written.

https://github.com/wkentaro/labelme
"""

from __future__ import annotations

import base64
import ntpath
from collections.abc import Iterator
from pathlib import PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from owseg._registry import Card
from owseg.data.masks import Rle, check_size
from owseg.errors import OwsegError
from owseg.exchange.annotation import Annotation, by_class
from owseg.exchange.archive import Files
from owseg.exchange.base import Format
from owseg.exchange.shapes import Canvas, open_mask_image

WHAT = "a LabelMe annotation"


def read(files: Files) -> Iterator[Annotation]:
    """Yield the annotations of the JSON files; all shapes of a class in an image are one.

    A polygon is drawn as LabelMe draws it, with its outline. Raises ``OwsegError`` for other shapes than polygons and
    masks, and for those that do not fit.
    """
    for name in files.fitting(fits, WHAT):
        value = files.json(name)
        image = _image(value["imagePath"], name)
        canvas = Canvas(image, check_size(value["imageHeight"], value["imageWidth"]))
        yield from by_class(image, ((s["label"], _mask(s, canvas)) for s in value["shapes"]), {})


def fits(files: Files, name: str) -> bool:
    """Return whether the file ``name`` is LabelMe's; raise ``OwsegError`` if it is broken JSON."""
    if not name.lower().endswith(".json"):
        return False
    value = files.json(name)
    return isinstance(value, dict) and value.keys() >= {"shapes", "imagePath"}


def _image(given: str, name: str) -> str:
    """Return the image that the file ``name`` calls ``given``, from its own folder: its path below that of the export.

    Of one that is elsewhere it is the file name.
    """
    # The class that splits at both / and \, and knows drives.
    path = PureWindowsPath(ntpath.normpath(PureWindowsPath(name).parent / given))
    file = PureWindowsPath(given).name
    return file if not file or path.anchor or path.parts[:1] == ("..",) else path.as_posix()


def _mask(shape: dict[str, Any], canvas: Canvas) -> Rle:
    kind, what = shape.get("shape_type") or "polygon", f"{shape['label']} in {canvas.image}"
    if kind == "polygon":
        return _polygon(canvas.corners(np.asarray(shape["points"], np.float64).ravel().tolist(), what), canvas, what)
    if kind != "mask":
        raise OwsegError(
            f"{shape['label']} is a {kind} in {canvas.image}; outline it as a polygon or mask, or remove it."
        )
    # A mask is a PNG of its bounding box, whose corner is the first point.
    inside = np.asarray(open_mask_image(base64.b64decode(shape["mask"])).convert("L")) > 0
    left, top = (int(v) for v in shape["points"][0])
    canvas.box(top, left, inside.shape[0], inside.shape[1], what)
    return Rle.placed(inside, top, left, canvas.size)


def _polygon(corners: np.ndarray, canvas: Canvas, what: str) -> Rle:
    """Return a polygon drawn by Pillow, with its outline; only its box is drawn, as far as it lies in the image."""
    height, width = canvas.size
    # A pixel more to each side: corners are rounded.
    (left, top) = np.clip(np.floor(corners.min(0)) - 1, 0, (width - 1, height - 1)).astype(int).tolist()
    (right, bottom) = np.clip(np.ceil(corners.max(0)) + 2, (left + 1, top + 1), (width, height)).astype(int).tolist()
    canvas.box(top, left, bottom - top, right - left, what)
    drawn = Image.new("1", (right - left, bottom - top))
    ImageDraw.Draw(drawn).polygon([(float(x), float(y)) for x, y in corners - (left, top)], fill=1, outline=1)
    return Rle.placed(np.asarray(drawn), top, left, canvas.size)


def labelme() -> Format:
    """Return the format."""
    return Format(WHAT, fits, read)


CARDS = (
    Card(
        "labelme",
        "LabelMe",
        make=labelme,
        source="https://github.com/wkentaro/labelme",
        facts={"reads": "polygons, masks", "writes": "", "loses": "it has no colours"},
    ),
)
