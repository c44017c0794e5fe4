"""Label Studio's JSON: brush masks both ways, polygons in. https://labelstud.io/guide/task_format

A brush mask has the bytes of an RGBA image in the run-length code of https://github.com/thi-ng/umbrella (rle-pack). The
JSON has no place for colours, so they are in the task's ``meta``, which Label Studio keeps. Beside ``NAME.json``,
``NAME.labels.xml`` is the labelling interface with which to set up a project.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree

import numpy as np

from owseg._files import write_whole
from owseg._registry import Card
from owseg.data.images import SUFFIXES
from owseg.data.masks import Rle, check_size, encode_rows
from owseg.errors import OwsegError
from owseg.exchange.annotation import Annotation, by_class, by_image, from_hex, hex_color
from owseg.exchange.archive import Files
from owseg.exchange.base import Format
from owseg.exchange.shapes import Canvas
from owseg.labels import Color

WHAT = "a Label Studio export (JSON)"


LOCAL = "/data/local-files/?d="
"""The address under which Label Studio serves files of its own machine; a path below its document root follows."""


def write(annotations: Iterable[Annotation], path: Path, predicted: bool = False, url: str = LOCAL) -> Path:
    """Write the JSON file ``path`` and the interface beside it; ``url`` is put before each image's name.

    What is ``predicted`` becomes a prediction, which a person copies into an annotation and corrects.
    """
    marked, colors = by_image(annotations)
    known = {n: hex_color(c) for n, c in colors.items() if c}
    numbers, tasks = count(1), []
    for image, found in marked.items():
        height, width = found.size
        result = [
            {
                "id": f"owseg-{next(numbers)}",
                "type": "brushlabels",
                # The names of the interface's elements (see ``_interface``), by which a result finds its control.
                "from_name": "label",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {"format": "rle", "rle": encode(rle.mask()), "brushlabels": [name]},
            }
            for name, rle in found.masks.items()
        ]
        made = {"predictions": [{"model_version": "owseg", "result": result}]}
        task = {
            "data": {"image": url + quote(image)},
            "meta": {"colors": {n: known[n] for n in known if n in found.masks}},
        }
        tasks.append({**task, **(made if predicted else {"annotations": [{"result": result}]})})
    write_whole(path.with_suffix(".labels.xml"), _interface(colors))
    return write_whole(path, json.dumps(tasks, ensure_ascii=False).encode())


def read(files: Files) -> Iterator[Annotation]:
    """Yield the annotations of the JSON exports; all regions of a class in an image are one.

    Predictions are read only in tasks without a list of annotations, which are those that were not exported by Label
    Studio. Raises ``OwsegError`` for regions other than brushes and polygons, those that do not fit, images that were
    turned, two people's annotations of one image, and two addresses of one file name.
    """
    places: dict[str, str] = {}
    for name in files.fitting(fits, WHAT):
        value = files.json(name)
        for task in value if isinstance(value, list) else [value]:
            image, place = _image(task["data"])
            if (other := places.setdefault(image, place)) != place:
                raise OwsegError(f"{other} and {place} are both {image} without their folders; export them apart.")
            colors = {n: from_hex(c) for n, c in ((task.get("meta") or {}).get("colors") or {}).items()}
            yield from by_class(image, _shapes(_result(task, image), image), colors)


def fits(files: Files, name: str) -> bool:
    """Return whether the file ``name`` is Label Studio's; raise ``OwsegError`` if it is broken JSON."""
    if not name.lower().endswith(".json"):
        return False
    value = files.json(name)
    tasks = value if isinstance(value, list) else [value]
    return bool(tasks) and all(
        isinstance(t, dict) and isinstance(t.get("data"), dict) and ("annotations" in t or "predictions" in t)
        for t in tasks
    )


def encode(mask: np.ndarray) -> list[int]:
    """Return (H, W) bool as the bytes of a brush mask: 255 in all four channels on the mask, 0 off it.

    The code has 32 bits for the number of words, 5 for the bits of a word less 1, and four times 4 for the bits of a
    run's length less 1. Each run has a bit 1, two bits that choose one of the four sizes, its length less 1, and the
    word.
    """
    code = [f"{4 * mask.size:032b}", f"{7:05b}", *(f"{s - 1:04b}" for s in SIZES)]
    for i, run in enumerate(encode_rows(mask)):
        # Four words a pixel: red, green, blue, alpha.
        left, word = 4 * run, f"{255 * (i % 2):08b}"
        while left:
            # Lengths are stored less 1, so 16 bits hold up to 65536; a longer run is cut.
            length = min(left, 1 << SIZES[-1])
            which = next(k for k, s in enumerate(SIZES) if length <= 1 << s)
            code.append(f"1{which:02b}{length - 1:0{SIZES[which]}b}{word}")
            left -= length
    bits = "".join(code)
    bits += "0" * (-len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8, "big"))


SIZES = (3, 4, 8, 16)
"""Bits of the four sizes of run lengths that ``encode`` uses."""


def decode(rle: list[int], size: tuple[int, int]) -> np.ndarray:
    """Return the mask (H, W) bool of the bytes of a brush mask: where alpha is above 0.

    Raises ``OwsegError`` for anything but a list of bytes, for another size than the image's, and for bytes that are
    cut off.
    """
    if not isinstance(rle, list) or not all(type(b) is int and 0 <= b <= 255 for b in rle):
        raise OwsegError("a brush mask is a list of integers from 0 to 255.")
    # As a string of bits, since fields begin and end anywhere within a byte.
    bits = np.unpackbits(np.array(rle, np.uint8))
    text, at = (bits + 48).tobytes().decode("ascii"), 0

    def take(n: int) -> int:
        nonlocal at
        at += n
        if at > len(text):
            raise OwsegError("a brush mask is cut off.")
        return int(text[at - n : at], 2)

    total, word, sizes = take(32), take(5) + 1, [take(4) + 1 for _ in range(4)]
    if total != 4 * size[0] * size[1] or word != 8:
        raise OwsegError(f"a brush mask of {total} words of {word} bits does not fit an image of {size[1]}x{size[0]}.")
    values, i = np.zeros(total, np.uint8), 0
    while i < total:
        same, which = take(1), take(2)
        end = i + take(sizes[which]) + 1
        if end > total:
            raise OwsegError("a brush mask has more pixels than its image.")
        if same:
            values[i:end] = take(8)
        else:  # words one after another, which its own encoder writes where runs do not pay
            start, at = at, at + 8 * (end - i)
            if at > len(text):
                raise OwsegError("a brush mask is cut off.")
            values[i:end] = np.packbits(bits[start:at])
        i = end
    # Every fourth byte is an alpha.
    return values[3::4].reshape(size) > 0


def _result(task: dict[str, Any], image: str) -> list[dict[str, Any]]:
    """Return the regions of a task's annotation, or of its prediction if it has no list of annotations."""
    kind = "annotations" if "annotations" in task else "predictions"
    # A cancelled annotation is a task that was skipped; of several people's, one may be marked as the ground truth.
    made = [a for a in task[kind] or [] if not a.get("was_cancelled")]
    made = [a for a in made if a.get("ground_truth")] or made
    if len(made) > 1:
        raise OwsegError(f"{image} has {len(made)} {kind}; keep one, or mark one as ground truth.")
    return made[0]["result"] if made else []


def _shapes(result: list[dict[str, Any]], image: str) -> Iterator[tuple[str, Rle]]:
    canvas: Canvas | None = None
    for region in result:
        value = region.get("value") or {}
        names = next((v for k, v in value.items() if k.endswith("labels")), None)
        if not names:
            continue  # a choice, a text, or a brush whose labels come with another region of the same mask
        if "rle" not in value and "points" not in value:
            kind = region.get("type")
            raise OwsegError(f"{names[0]} in {image} is of {kind}; mark it with a brush or polygon, or remove it.")
        if region.get("image_rotation"):
            raise OwsegError(f"{image} was turned by {region['image_rotation']} degrees; turn it back.")
        size = check_size(region["original_height"], region["original_width"])
        canvas = canvas or Canvas(image, size)
        if size != canvas.size:
            raise OwsegError(f"{image} has masks of two sizes, {canvas.size} and {size} (height, width); keep one.")
        if "rle" in value:
            canvas.box(0, 0, *size, f"{names[0]} in {image}")
            mask = Rle.of(decode(value["rle"], size))
        else:
            # Corners are in percent of the image's width and height.
            corners = np.asarray(value["points"], np.float64) * [size[1] / 100, size[0] / 100]
            mask = canvas.polygon(corners.ravel().tolist(), f"{names[0]} in {image}")
        yield from ((name, mask) for name in names)


def _image(data: Mapping[str, Any]) -> tuple[str, str]:
    """Return the image's name, from its address in Label Studio, and the address without what follows the path."""
    texts = [v for v in data.values() if isinstance(v, str)]
    # The key is that of the project's interface: "image" in ours, any other in people's own.
    address = data.get("image") or next((t for t in texts if t.lower().endswith(SUFFIXES)), None)
    if not address:
        raise OwsegError("a task has no image.")
    parts = urlsplit(address)  # uploads, buckets and servers alike have the file name last
    local = parse_qs(parts.query).get("d") if parts.path.endswith("/local-files/") else None
    if local:
        return local[0], local[0]
    return PurePosixPath(unquote(parts.path)).name, f"{parts.netloc}{parts.path}"


def _interface(colors: Mapping[str, Color | None]) -> bytes:
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image", zoom="true")
    labels = ElementTree.SubElement(view, "BrushLabels", name="label", toName="image")
    for name, color in colors.items():
        ElementTree.SubElement(labels, "Label", {"value": name, **({"background": hex_color(color)} if color else {})})
    ElementTree.indent(view)
    document: bytes = ElementTree.tostring(view, "utf-8")
    return document


def labelstudio(url: str = LOCAL) -> Format:
    """Return the format; ``url`` is put before the image's name in what is written."""
    return Format(WHAT, fits, read, partial(write, url=url))


CARDS = (
    Card(
        "labelstudio",
        "Label Studio",
        make=labelstudio,
        source="https://labelstud.io/guide/task_format",
        options={"url": "what to put before an image's name; by default /data/local-files/?d="},
        facts={
            "reads": "brushes, polygons",
            "writes": "`annotations.json`, and `annotations.labels.xml`, the labelling interface",
            "loses": "folders in an address of another server",
            "suffix": ".json",
            "hint": "in Label Studio make a project with the interface of {stem}.labels.xml (Code), and import {path}.",
        },
    ),
)
