"""Label Studio's JSON: brush masks both ways, polygons in. https://labelstud.io/guide/task_format

A brush mask is the image's RGBA bytes in the run-length code of https://github.com/thi-ng/umbrella (rle-pack). The
JSON has no place for colours of its own, so they stand in the task's ``meta``, which Label Studio keeps. Beside
``NAME.json``, ``NAME.labels.xml`` is the labelling interface to set up a project with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree

import numpy as np

from owseg._files import write_whole
from owseg.data.images import SUFFIXES
from owseg.data.masks import check_size, runs_of, unpacked
from owseg.errors import OwsegError
from owseg.exchange.annotation import Annotation, from_hex, gathered, hex_color, joined
from owseg.exchange.archive import jsons, opened
from owseg.exchange.masks import filled
from owseg.labels import Color

WHAT = "a Label Studio export (JSON)"


LOCAL = "/data/local-files/?d="
"""Where Label Studio serves files of its own machine; a path below its document root follows."""


UPLOAD = re.compile("^[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of an uploaded image."""


def write(annotations: Iterable[Annotation], path: Path, predicted: bool = False, url: str = LOCAL) -> Path:
    """Write the JSON file ``path`` and the interface beside it; ``url`` stands before the image's name.

    What is ``predicted`` becomes a prediction, which a person copies into an annotation and corrects.
    """
    sheets, colors = gathered(annotations)
    known = {n: hex_color(c) for n, c in colors.items() if c}
    numbers, tasks = count(1), []
    for image, sheet in sheets.items():
        height, width = sheet.size
        result = [
            {
                "id": f"owseg-{next(numbers)}",
                "type": "brushlabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {"format": "rle", "rle": encode(unpacked(rle)), "brushlabels": [name]},
            }
            for name, rle in sheet.masks.items()
        ]
        made = {"predictions": [{"model_version": "owseg", "result": result}]}
        task = {
            "data": {"image": url + quote(image)},
            "meta": {"colors": {n: known[n] for n in known if n in sheet.masks}},
        }
        tasks.append({**task, **(made if predicted else {"annotations": [{"result": result}]})})
    write_whole(path.with_suffix(".labels.xml"), _interface(colors))
    return write_whole(path, json.dumps(tasks, ensure_ascii=False).encode())


def read(path: str | Path) -> Iterator[Annotation]:
    """Yield the annotations of a JSON export, or of those in a folder; regions of a class in an image are one.

    Predictions count only in tasks that have no ``annotations`` at all: those that never went through Label Studio.
    Raises ``OwsegError`` for regions other than brushes and polygons, those that do not fit, images that were turned,
    and two people's annotations of one image.
    """
    with opened(path, WHAT) as files:
        for _, value in jsons(files, fits, WHAT):
            for task in value if isinstance(value, list) else [value]:
                image = _image(task["data"])
                colors = {n: from_hex(c) for n, c in ((task.get("meta") or {}).get("colors") or {}).items()}
                yield from joined(image, _shapes(_result(task, image), image), colors)


def fits(value: Any) -> bool:
    """Whether parsed JSON is Label Studio's."""
    tasks = value if isinstance(value, list) else [value]
    return bool(tasks) and all(
        isinstance(t, dict) and isinstance(t.get("data"), dict) and ("annotations" in t or "predictions" in t)
        for t in tasks
    )


def encode(mask: np.ndarray) -> list[int]:
    """Return (H, W) bool as Label Studio's bytes: 255 in all four channels on the mask, 0 off it.

    32 bits of length, 5 of the word size less 1, four times 4 of a size of run lengths less 1; then, for each run: 1,
    two bits that choose the size, the length less 1, the word.
    """
    code = [f"{4 * mask.size:032b}", f"{7:05b}", *(f"{s - 1:04b}" for s in SIZES)]
    for i, run in enumerate(runs_of(mask)):
        left, word = 4 * run, f"{255 * (i % 2):08b}"
        while left:
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
    """Return the mask (H, W) bool of Label Studio's bytes: where alpha is above 0.

    Raises ``OwsegError`` for bytes that are none, of another size than the image, or cut off.
    """
    if not isinstance(rle, list) or not all(type(b) is int and 0 <= b <= 255 for b in rle):
        raise OwsegError("a brush mask is a list of integers from 0 to 255.")
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
        else:
            start, at = at, at + 8 * (end - i)
            if at > len(text):
                raise OwsegError("a brush mask is cut off.")
            values[i:end] = np.packbits(bits[start:at])
        i = end
    return values[3::4].reshape(size) > 0


def _result(task: dict[str, Any], image: str) -> list[dict[str, Any]]:
    """Return the regions of a task: its annotation's, or its prediction's if there is no list of annotations."""
    kind = "annotations" if "annotations" in task else "predictions"
    made = [a for a in task[kind] or [] if not a.get("was_cancelled")]
    made = [a for a in made if a.get("ground_truth")] or made
    if len(made) > 1:
        raise OwsegError(f"{image} has {len(made)} {kind}; keep one, or mark one as ground truth.")
    return made[0]["result"] if made else []


def _shapes(result: list[dict[str, Any]], image: str) -> Iterator[tuple[str, np.ndarray]]:
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
        if "rle" in value:
            mask = decode(value["rle"], size)
        else:
            corners = np.asarray(value["points"], np.float64) * [size[1] / 100, size[0] / 100]
            mask = filled(corners.ravel().tolist(), size, f"{names[0]} in {image}")
        yield from ((name, mask) for name in names)


def _image(data: Mapping[str, Any]) -> str:
    """Return the image's name from the address that Label Studio has it under."""
    texts = [v for v in data.values() if isinstance(v, str)]
    address = data.get("image") or next((t for t in texts if t.lower().endswith(SUFFIXES)), None)
    if not address:
        raise OwsegError("a task has no image.")
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d") if parts.path.endswith("/local-files/") else None
    return local[0] if local else PurePosixPath(unquote(parts.path)).name


def _interface(colors: Mapping[str, Color | None]) -> bytes:
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image", zoom="true")
    labels = ElementTree.SubElement(view, "BrushLabels", name="label", toName="image")
    for name, color in colors.items():
        ElementTree.SubElement(labels, "Label", {"value": name, **({"background": hex_color(color)} if color else {})})
    ElementTree.indent(view)
    return ElementTree.tostring(view, "utf-8")
