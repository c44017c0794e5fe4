"""CVAT for images 1.1 (XML): masks both ways, polygons in. https://docs.cvat.ai/docs/other/xml_format

``<mask rle left top width height>`` has row-major run lengths, off first, inside its box; holes and several components
are kept. Beside ``NAME.xml``, ``NAME.labels.json`` is what to paste into the raw label constructor of a new task.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from owseg._files import write_whole
from owseg._registry import Card
from owseg.data.masks import Rle, check_size, decode_rows, encode_rows
from owseg.errors import OwsegError
from owseg.exchange._cvat_labels import write_labels
from owseg.exchange.annotation import Annotation, by_class, by_image, from_hex, hex_color
from owseg.exchange.archive import Files
from owseg.exchange.base import Format
from owseg.exchange.shapes import Canvas

WHAT = "a CVAT annotation (for images 1.1)"


NO_PIXELS = ("tag", "attribute")
"""Elements of an image that are about the whole image, not its pixels."""


def write(annotations: Iterable[Annotation], path: Path, predicted: bool = False) -> Path:
    """Write the XML file ``path`` and its labels beside it; what is ``predicted`` has the source "auto"."""
    marked, colors = by_image(annotations)
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    for key, text in (("name", "owseg"), ("size", str(len(marked))), ("mode", "annotation")):
        ElementTree.SubElement(task, key).text = text
    labels = ElementTree.SubElement(task, "labels")
    for name, color in colors.items():
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        if color:
            ElementTree.SubElement(label, "color").text = hex_color(color)
        ElementTree.SubElement(label, "type").text = "mask"
        ElementTree.SubElement(label, "attributes")
    for number, (image, found) in enumerate(marked.items()):
        height, width = found.size
        attributes = {"id": str(number), "name": image, "width": str(width), "height": str(height)}
        element = ElementTree.SubElement(root, "image", attributes)
        for name, rle in found.masks.items():
            made = {"label": name, "source": "auto" if predicted else "manual", "occluded": "0"}
            ElementTree.SubElement(element, "mask", {**made, **mask_attributes(rle.mask())})
    ElementTree.indent(root, " ")
    # Labels first, so that no file of annotations is without them.
    write_labels(colors, path)
    return write_whole(path, ElementTree.tostring(root, "utf-8", xml_declaration=True))


def read(files: Files) -> Iterator[Annotation]:
    """Yield the annotations of the XML files; all shapes of a class in an image are one.

    Raises ``OwsegError`` for shapes other than masks and polygons, those that do not fit, and a document type, as its
    entities could expand to any size.
    """
    for name in files.fitting(fits, WHAT):
        yield from _annotations(_parsed(files.read(name)))


def fits(files: Files, name: str) -> bool:
    """Return whether the file ``name`` is CVAT's, from its beginning."""
    return name.lower().endswith(".xml") and b"<annotations" in files.read(name)[:4096]


def _annotations(root: Any) -> Iterator[Annotation]:
    if root.find("track") is not None:  # of "CVAT for video", whose shapes are interpolated between frames
        raise OwsegError("it holds tracks of a video; export it as 'CVAT for images 1.1'.")
    labels = root.iterfind("meta//label")
    colors = {label.findtext("name"): from_hex(label.findtext("color")) for label in labels}
    for element in root.iterfind("image"):
        image = element.attrib["name"]
        canvas = Canvas(image, check_size(int(element.attrib["height"]), int(element.attrib["width"])))
        shapes = ((s.attrib["label"], _mask(s, canvas)) for s in element if s.tag not in NO_PIXELS)
        yield from by_class(image, shapes, colors)


def _mask(shape: Any, canvas: Canvas) -> Rle:
    value = shape.attrib
    what = f"{value['label']} in {canvas.image}"
    if shape.tag == "polygon":
        corners = [float(v) for corner in value["points"].split(";") for v in corner.split(",")]
        return canvas.polygon(corners, what)
    if shape.tag != "mask":
        raise OwsegError(
            f"{value['label']} is a {shape.tag} in {canvas.image}; outline it as a mask or polygon, or remove it."
        )
    top, left, height, width = (int(value[k]) for k in ("top", "left", "height", "width"))
    # Checked before anything is decoded: the size of the box is what the decoder allocates.
    canvas.box(top, left, height, width, what)
    inside = decode_rows([int(r) for r in value["rle"].split(",")], (height, width))
    return Rle.placed(inside, top, left, canvas.size)


def mask_attributes(mask: np.ndarray) -> dict[str, str]:
    """Return the attributes of ``<mask>`` for (H, W) bool; a mask without a pixel is a box of one pixel that is off."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    top, bottom, left, right = (rows[0], rows[-1], columns[0], columns[-1]) if len(rows) else (0, 0, 0, 0)
    inside = mask[top : bottom + 1, left : right + 1]
    sides = {"left": left, "top": top, "width": inside.shape[1], "height": inside.shape[0], "z_order": 0}
    return {"rle": ", ".join(map(str, encode_rows(inside))), **{k: str(v) for k, v in sides.items()}}


def _parsed(data: bytes) -> Any:
    try:
        return fromstring(data, forbid_dtd=True)  # a few entities could expand to gigabytes
    except DefusedXmlException:
        raise OwsegError("it declares a document type, which no labelling tool writes; do not trust it.") from None
    except ElementTree.ParseError as error:
        raise OwsegError(f"it is not XML ({error}).") from None


def cvat() -> Format:
    """Return the format."""
    return Format(WHAT, fits, read, write)


CARDS = (
    Card(
        "cvat",
        "CVAT for images 1.1",
        make=cvat,
        source="https://docs.cvat.ai/docs/other/xml_format",
        facts={
            "reads": "masks, polygons",
            "writes": "`annotations.xml`, and `annotations.labels.json` for the label constructor (Raw)",
            "loses": "",
            "suffix": ".xml",
            "hint": "in CVAT, make a task of the images with the labels in {stem}.labels.json (Raw); then Upload "
            "annotations, CVAT 1.1.",
        },
    ),
)
