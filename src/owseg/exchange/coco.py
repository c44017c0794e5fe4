"""COCO instances: run lengths both ways, polygons in. https://cocodataset.org/#format-data

An object of run lengths is a crowd (``iscrowd`` 1), as it is everything of its class in the image. Colours stand in
the categories, as in COCO panoptic, or as ``#rrggbb``, as COCO Annotator writes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as api

from owseg._files import write_whole
from owseg.data.masks import check_size, mask_of
from owseg.errors import OwsegError
from owseg.exchange.annotation import Annotation, from_hex, gathered, joined
from owseg.exchange.archive import jsons, opened
from owseg.exchange.masks import filled
from owseg.labels import Color

WHAT = "a COCO annotation"


def write(annotations: Iterable[Annotation], path: Path, predicted: bool = False) -> Path:
    """Write the JSON file ``path``; COCO does not say who marked it, so ``predicted`` changes nothing."""
    sheets, colors = gathered(annotations)
    ids = {name: i for i, name in enumerate(colors, 1)}
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for number, (image, sheet) in enumerate(sheets.items(), 1):
        height, width = sheet.size
        images.append({"id": number, "file_name": image, "height": height, "width": width})
        for name, rle in sheet.masks.items():
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": number,
                    "category_id": ids[name],
                    "segmentation": {"size": [height, width], "counts": rle["counts"].decode("ascii")},
                    "area": int(api.area(rle)),
                    "bbox": api.toBbox(rle).tolist(),
                    "iscrowd": 1,
                }
            )
    categories = [{"id": i, "name": n, **({"color": list(c)} if (c := colors[n]) else {})} for n, i in ids.items()]
    value = {"images": images, "annotations": objects, "categories": categories}
    return write_whole(path, json.dumps(value, ensure_ascii=False).encode())


def read(path: str | Path) -> Iterator[Annotation]:
    """Yield the annotations of a JSON file, or of those in a folder or zip; objects of a class in an image are one.

    Raises ``OwsegError`` for an object that is only a box, and for run lengths or polygons that do not fit.
    """
    with opened(path, WHAT) as files:
        for _, value in jsons(files, fits, WHAT):
            yield from _annotations(value)


def fits(value: Any) -> bool:
    """Whether parsed JSON is COCO."""
    return isinstance(value, dict) and value.keys() >= {"images", "annotations", "categories"}


def _annotations(value: dict[str, Any]) -> Iterator[Annotation]:
    names = {c["id"]: c["name"] for c in value["categories"]}
    colors = {c["name"]: _color(c.get("color")) for c in value["categories"]}
    objects: dict[Any, list[dict[str, Any]]] = {}
    for o in value["annotations"]:
        objects.setdefault(o["image_id"], []).append(o)
    for picture in value["images"]:
        size, image = check_size(picture["height"], picture["width"]), picture["file_name"]
        shapes = ((names[o["category_id"]], _mask(o, image, size)) for o in objects.pop(picture["id"], []))
        yield from joined(image, shapes, colors)
    if objects:
        raise OwsegError(f"an object is in the image {next(iter(objects))!r}, which is not among the images.")


def _color(value: Any) -> Color | None:
    """Return a colour as (r, g, b); None for one that is unreadable: no annotation is worth less without it."""
    if isinstance(value, str):
        with suppress(OwsegError):
            return from_hex(value)
    if isinstance(value, list) and len(value) == 3 and all(type(v) in (int, float) and 0 <= v <= 255 for v in value):
        r, g, b = (round(v) for v in value)
        return r, g, b
    return None


def _mask(value: dict[str, Any], image: str, size: tuple[int, int]) -> np.ndarray:
    shape, what = value.get("segmentation"), f"the object {value.get('id')} of {image}"
    if not shape:
        raise OwsegError(f"{what} is a box without a mask; outline it, or remove it.")
    if isinstance(shape, list):
        mask = np.zeros(size, bool)
        for polygon in [p for p in shape if len(p) > 4] or shape:  # tools leave lines beside what encloses something
            mask |= filled(polygon, size, what)
        return mask
    if tuple(shape["size"]) != size:
        raise OwsegError(f"a mask of {image} is {shape['size']} and its image {list(size)} (height, width).")
    counts = shape["counts"]
    return mask_of(counts if isinstance(counts, list) else unfold(counts), size, "F")


def unfold(text: str) -> list[int]:
    """Return the run lengths of COCO's compressed string; raise ``OwsegError`` for what is none.

    A number is written in groups of five bits, least first, each as the character 48 + group + 32 (if more follow);
    the last group's highest bit is the sign. From the fourth on, a number is the difference to the run two before.
    (pycocotools, which wrote it, reads past the end of a string that is cut.)
    """
    runs: list[int] = []
    value = shift = 0
    for group in (ord(c) - 48 for c in text):
        if not 0 <= group < 64 or shift > 60:
            raise OwsegError("a compressed mask holds what is no run length.")
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            value -= (1 << shift) if group & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise OwsegError("a compressed mask is cut off.")
    return runs
