"""LabelMe's JSON, one file an image, polygons and masks; in only. https://github.com/wkentaro/labelme"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from owseg.data.masks import check_size
from owseg.errors import OwsegError
from owseg.exchange.annotation import Annotation, joined
from owseg.exchange.archive import jsons, opened
from owseg.exchange.masks import check_polygon, open_picture

WHAT = "a LabelMe annotation"


def read(path: str | Path) -> Iterator[Annotation]:
    """Yield the annotations of a JSON file, or of those in a folder or zip; shapes of a class in an image are one.

    A polygon is drawn as LabelMe draws it, its outline included. Raises ``OwsegError`` for other shapes than polygons
    and masks, and for those that do not fit.
    """
    with opened(path, WHAT) as files:
        for _, value in jsons(files, fits, WHAT):
            size = check_size(value["imageHeight"], value["imageWidth"])
            image = PureWindowsPath(value["imagePath"]).name  # it knows / and \
            yield from joined(image, ((s["label"], _mask(s, image, size)) for s in value["shapes"]), {})


def fits(value: Any) -> bool:
    """Whether parsed JSON is LabelMe's."""
    return isinstance(value, dict) and value.keys() >= {"shapes", "imagePath"}


def _mask(shape: dict[str, Any], image: str, size: tuple[int, int]) -> np.ndarray:
    kind = shape.get("shape_type") or "polygon"
    if kind == "polygon":
        corners = check_polygon(
            np.asarray(shape["points"], np.float64).ravel().tolist(), size, f"{shape['label']} in {image}"
        )
        drawn = Image.new("1", (size[1], size[0]))
        ImageDraw.Draw(drawn).polygon([(float(x), float(y)) for x, y in corners], fill=1, outline=1)
        return np.asarray(drawn)
    if kind != "mask":
        raise OwsegError(f"{shape['label']} is a {kind} in {image}; outline it as a polygon or mask, or remove it.")
    inside = np.asarray(open_picture(base64.b64decode(shape["mask"])).convert("L")) > 0
    left, top = (int(v) for v in shape["points"][0])
    bottom, right = top + inside.shape[0], left + inside.shape[1]
    if top < 0 or left < 0 or bottom > size[0] or right > size[1]:
        raise OwsegError(f"the mask of {shape['label']} lies outside {image}, which is {size[1]}x{size[0]}.")
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = inside
    return mask
