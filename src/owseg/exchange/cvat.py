"""CVAT for images 1.1 (XML): masks both ways, polygons in. https://docs.cvat.ai/docs/other/xml_format

``<mask rle left top width height>`` holds row-major run lengths, off first, inside its box. CVAT reads holes and many
components from it as they are. Beside ``NAME.xml``, ``NAME.labels.json`` is what to paste into the raw label
constructor of a new task.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from owseg._files import write_whole
from owseg.data.masks import check_size, mask_of, runs_of, unpacked
from owseg.errors import OwsegError
from owseg.exchange.annotation import Annotation, from_hex, gathered, hex_color, joined
from owseg.exchange.archive import opened
from owseg.exchange.masks import filled
from owseg.labels import Color

WHAT = "a CVAT annotation (for images 1.1)"


NO_PIXELS = ("tag", "attribute")
"""Elements of an image that say nothing about its pixels."""


def write(annotations: Iterable[Annotation], path: Path, predicted: bool = False) -> Path:
    """Write the XML file ``path`` and its labels beside it; what is ``predicted`` has the source "auto"."""
    sheets, colors = gathered(annotations)
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    for key, text in (("name", "owseg"), ("size", str(len(sheets))), ("mode", "annotation")):
        ElementTree.SubElement(task, key).text = text
    labels = ElementTree.SubElement(task, "labels")
    for name, color in colors.items():
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        if color:
            ElementTree.SubElement(label, "color").text = hex_color(color)
        ElementTree.SubElement(label, "type").text = "mask"
        ElementTree.SubElement(label, "attributes")
    for number, (image, sheet) in enumerate(sheets.items()):
        height, width = sheet.size
        shown = {"id": str(number), "name": image, "width": str(width), "height": str(height)}
        picture = ElementTree.SubElement(root, "image", shown)
        for name, rle in sheet.masks.items():
            made = {"label": name, "source": "auto" if predicted else "manual", "occluded": "0"}
            ElementTree.SubElement(picture, "mask", {**made, **_box(unpacked(rle))})
    ElementTree.indent(root, " ")
    write_labels(colors, path)
    return write_whole(path, ElementTree.tostring(root, "utf-8", xml_declaration=True))


def write_labels(colors: Mapping[str, Color | None], path: Path) -> Path:
    """Write, beside ``path``, the classes as CVAT's raw label constructor takes them."""
    labels = [
        {"name": n, **({"color": hex_color(c)} if c else {}), "type": "mask", "attributes": []}
        for n, c in colors.items()
    ]
    return write_whole(path.with_suffix(".labels.json"), json.dumps(labels, ensure_ascii=False, indent=1).encode())


def read(path: str | Path) -> Iterator[Annotation]:
    """Yield the annotations of an XML file, or of those in a folder or zip; shapes of a class in an image are one.

    Raises ``OwsegError`` for shapes other than masks and polygons, those that do not fit, and a document type, as
    entities could unfold to any size.
    """
    with opened(path, WHAT) as files:
        documents = [data() for name, data in files.items() if name.lower().endswith(".xml")]
        documents = [d for d in documents if fits(d)]
        if not documents:
            raise OwsegError(f"this is not {WHAT}, nor does it hold one.")
        for document in documents:
            yield from _annotations(_parsed(document))


def fits(data: bytes) -> bool:
    """Whether an XML file is CVAT's, from its beginning."""
    return b"<annotations" in data[:4096]


def _annotations(root: Any) -> Iterator[Annotation]:
    if root.find("track") is not None:
        raise OwsegError("it holds tracks of a video; export it as 'CVAT for images 1.1'.")
    labels = root.iterfind("meta//label")
    colors = {label.findtext("name"): from_hex(label.findtext("color")) for label in labels}
    for picture in root.iterfind("image"):
        size = check_size(int(picture.attrib["height"]), int(picture.attrib["width"]))
        image = picture.attrib["name"]
        shapes = ((s.attrib["label"], _mask(s, image, size)) for s in picture if s.tag not in NO_PIXELS)
        yield from joined(image, shapes, colors)


def _mask(shape: Any, image: str, size: tuple[int, int]) -> np.ndarray:
    value = shape.attrib
    if shape.tag == "polygon":
        corners = [float(v) for corner in value["points"].split(";") for v in corner.split(",")]
        return filled(corners, size, f"{value['label']} in {image}")
    if shape.tag != "mask":
        raise OwsegError(
            f"{value['label']} is a {shape.tag} in {image}; outline it as a mask or polygon, or remove it."
        )
    top, left, height, width = (int(value[k]) for k in ("top", "left", "height", "width"))
    box = check_size(height, width)
    if top < 0 or left < 0 or top + height > size[0] or left + width > size[1]:
        raise OwsegError(f"a mask of {value['label']} lies outside {image}, which is {size[1]}x{size[0]}.")
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = mask_of([int(r) for r in value["rle"].split(",")], box)
    return mask


def _box(mask: np.ndarray) -> dict[str, str]:
    """Return the attributes of a mask; one without a pixel is a box of one pixel that is off."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    top, bottom, left, right = (rows[0], rows[-1], columns[0], columns[-1]) if len(rows) else (0, 0, 0, 0)
    inside = mask[top : bottom + 1, left : right + 1]
    sides = {"left": left, "top": top, "width": inside.shape[1], "height": inside.shape[0], "z_order": 0}
    return {"rle": ", ".join(map(str, runs_of(inside))), **{k: str(v) for k, v in sides.items()}}


def _parsed(data: bytes) -> Any:
    try:
        return fromstring(data, forbid_dtd=True)
    except DefusedXmlException:
        raise OwsegError("it declares a document type, which no labelling tool writes; do not trust it.") from None
    except ElementTree.ParseError as error:
        raise OwsegError(f"it is no XML ({error}).") from None
