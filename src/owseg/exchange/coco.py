"""COCO instances: run lengths both ways, polygons in. https://cocodataset.org/#format-data

An object that is written is a crowd (``iscrowd`` 1), as it is all of its class in the image. Colours are read from the
categories, as COCO panoptic has them, or as ``#rrggbb``, as COCO Annotator writes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from owseg._files import write_whole
from owseg._registry import Card
from owseg.data.masks import Rle, check_size, decode_counts
from owseg.errors import OwsegError
from owseg.exchange.annotation import Annotation, by_class, by_image, from_hex
from owseg.exchange.archive import Files
from owseg.exchange.base import Format
from owseg.exchange.shapes import Canvas
from owseg.labels import Color

WHAT = "a COCO annotation"


def write(annotations: Iterable[Annotation], path: Path, predicted: bool = False) -> Path:
    """Write the JSON file ``path``; COCO has no place for who made an annotation, so ``predicted`` changes nothing."""
    marked, colors = by_image(annotations)
    # From 1, as many tools take 0 for the background.
    ids = {name: i for i, name in enumerate(colors, 1)}
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for number, (image, found) in enumerate(marked.items(), 1):
        height, width = found.size
        images.append({"id": number, "file_name": image, "height": height, "width": width})
        for name, rle in found.masks.items():
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": number,
                    "category_id": ids[name],
                    "segmentation": {"size": [height, width], "counts": rle.code.decode("ascii")},
                    "area": rle.area,
                    "bbox": [float(side) for side in rle.box],
                    "iscrowd": 1,
                }
            )
    categories = [{"id": i, "name": n, **({"color": list(c)} if (c := colors[n]) else {})} for n, i in ids.items()]
    value = {"images": images, "annotations": objects, "categories": categories}
    return write_whole(path, json.dumps(value, ensure_ascii=False).encode())


def read(files: Files) -> Iterator[Annotation]:
    """Yield the annotations of the JSON files; all objects of a class in an image are one.

    Raises ``OwsegError`` for an object that is only a box, and for run lengths or polygons that do not fit.
    """
    for name in files.fitting(fits, WHAT):
        yield from _annotations(files.json(name))


def fits(files: Files, name: str) -> bool:
    """Return whether the file ``name`` is COCO's; raise ``OwsegError`` if it is broken JSON."""
    if not name.lower().endswith(".json"):
        return False
    value = files.json(name)
    return isinstance(value, dict) and value.keys() >= {"images", "annotations", "categories"}


def _annotations(value: dict[str, Any]) -> Iterator[Annotation]:
    names = {c["id"]: c["name"] for c in value["categories"]}
    colors = {c["name"]: _color(c.get("color")) for c in value["categories"]}
    objects: dict[Any, list[dict[str, Any]]] = {}
    for o in value["annotations"]:
        objects.setdefault(o["image_id"], []).append(o)
    for entry in value["images"]:
        image = entry["file_name"]
        canvas = Canvas(image, check_size(entry["height"], entry["width"]))
        # Popped, so that what is left at the end belongs to no image.
        shapes = ((names[o["category_id"]], _mask(o, canvas)) for o in objects.pop(entry["id"], []))
        yield from by_class(image, shapes, colors)
    if objects:
        raise OwsegError(f"an object is in the image {next(iter(objects))!r}, which is not among the images.")


def _color(value: Any) -> Color | None:
    """Return a colour as (r, g, b); None for an unreadable one, as annotations are as good without it."""
    if isinstance(value, str):
        with suppress(OwsegError):
            return from_hex(value)
    if isinstance(value, list) and len(value) == 3 and all(type(v) in (int, float) and 0 <= v <= 255 for v in value):
        r, g, b = (round(v) for v in value)
        return r, g, b
    return None


def _mask(value: dict[str, Any], canvas: Canvas) -> Rle:
    image, size = canvas.image, canvas.size
    shape, what = value.get("segmentation"), f"the object {value.get('id')} of {image}"
    if not shape:
        raise OwsegError(f"{what} is a box without a mask; outline it, or remove it.")
    if isinstance(shape, list):
        polygons = [p for p in shape if len(p) > 4] or shape  # tools leave lines of two points beside polygons
        first, *others = (canvas.polygon(polygon, what) for polygon in polygons)
        return first.union(*others)
    if tuple(shape["size"]) != size:  # a mask of a resized copy would be off by its scale
        raise OwsegError(f"a mask of {image} is {shape['size']} and its image {list(size)} (height, width).")
    counts = shape["counts"]
    return Rle.from_counts(counts if isinstance(counts, list) else decode_counts(counts), size)


def coco() -> Format:
    """Return the format."""
    return Format(WHAT, fits, read, write)


CARDS = (
    Card(
        "coco",
        "COCO instances",
        make=coco,
        source="https://cocodataset.org/#format-data",
        facts={
            "reads": "run lengths, polygons",
            "writes": "`annotations.json`",
            "loses": "",
            "suffix": ".json",
            "hint": "open {path} in any tool that reads COCO.",
        },
    ),
)
