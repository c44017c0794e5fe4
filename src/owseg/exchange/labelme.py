"""LabelMe's JSON, one file an image, with polygons and masks; it is read, not written.

https://github.com/wkentaro/labelme
"""

from __future__ import annotations

import base64
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
from owseg.exchange.shapes import check_polygon, open_mask_image

WHAT = "a LabelMe annotation"


def read(files: Files) -> Iterator[Annotation]:
    """Yield the annotations of the JSON files; all shapes of a class in an image are one.

    A polygon is drawn as LabelMe draws it, with its outline. Raises ``OwsegError`` for other shapes than polygons and
    masks, and for those that do not fit.
    """
    for name in files.fitting(fits, WHAT):
        value = files.json(name)
        size = check_size(value["imageHeight"], value["imageWidth"])
        image = PureWindowsPath(value["imagePath"]).name  # the class that splits at both / and \
        yield from by_class(image, ((s["label"], _mask(s, image, size)) for s in value["shapes"]), {})


def fits(files: Files, name: str) -> bool:
    """Return whether the file ``name`` is LabelMe's; raise ``OwsegError`` if it is broken JSON."""
    if not name.lower().endswith(".json"):
        return False
    value = files.json(name)
    return isinstance(value, dict) and value.keys() >= {"shapes", "imagePath"}


def _mask(shape: dict[str, Any], image: str, size: tuple[int, int]) -> Rle:
    kind = shape.get("shape_type") or "polygon"
    if kind == "polygon":
        corners = check_polygon(
            np.asarray(shape["points"], np.float64).ravel().tolist(), size, f"{shape['label']} in {image}"
        )
        drawn = Image.new("1", (size[1], size[0]))
        ImageDraw.Draw(drawn).polygon([(float(x), float(y)) for x, y in corners], fill=1, outline=1)
        return Rle.of(np.asarray(drawn))
    if kind != "mask":
        raise OwsegError(f"{shape['label']} is a {kind} in {image}; outline it as a polygon or mask, or remove it.")
    # A mask is a PNG of its bounding box, whose corner is the first point.
    inside = np.asarray(open_mask_image(base64.b64decode(shape["mask"])).convert("L")) > 0
    left, top = (int(v) for v in shape["points"][0])
    bottom, right = top + inside.shape[0], left + inside.shape[1]
    if top < 0 or left < 0 or bottom > size[0] or right > size[1]:
        raise OwsegError(f"the mask of {shape['label']} is outside {image}, which is {size[1]}x{size[0]}.")
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = inside
    return Rle.of(mask)


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
