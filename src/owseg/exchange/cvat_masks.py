"""CVAT's "Segmentation mask 1.1": a zip of one image of class colours for each image; also where it was unpacked.

https://docs.cvat.ai/docs/dataset_management/formats/format-smask. A pixel has one class here, so masks must not
overlap; a mask without a pixel is as none; and an image's name goes without its suffix.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from owseg._files import write_whole
from owseg.data.images import SUFFIXES
from owseg.data.masks import unpacked
from owseg.errors import OwsegError
from owseg.exchange.annotation import Annotation, ImageMasks, gathered, joined
from owseg.exchange.archive import opened
from owseg.exchange.cvat import write_labels
from owseg.exchange.masks import open_picture
from owseg.labels import Color, distinct_color

WHAT = "a CVAT archive of segmentation masks"


LABELMAP, CLASSES, OBJECTS = "labelmap.txt", "SegmentationClass", "SegmentationObject"


BACKGROUND, BLACK = "background", (0, 0, 0)


def write(annotations: Iterable[Annotation], path: Path, predicted: bool = False) -> Path:
    """Write the zip ``path`` and the labels beside it; the format does not say what is ``predicted``.

    Classes without a colour get one. Raises ``OwsegError`` for masks that overlap, two classes of one colour, a black
    one, names that cannot stand in a label map, and two images that differ in their suffix alone.
    """
    sheets, given = gathered(annotations)
    colors = _distinct(given)
    stems = {_stem(image): image for image in sheets}
    if len(stems) < len(sheets):
        twice = next(i for i in sheets if stems[_stem(i)] != i)
        raise OwsegError(f"{twice} and {stems[_stem(twice)]} have one name here; use cvat, coco or labelstudio.")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:

        def put(name: str, data: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)  # no date: same masks, same bytes

        rows = [f"{n}:{','.join(map(str, c))}::" for n, c in {BACKGROUND: BLACK, **colors}.items()]
        put(LABELMAP, "\n".join(["# label:color_rgb:parts:actions", *rows, ""]).encode())
        put("ImageSets/Segmentation/default.txt", "".join(f"{stem}\n" for stem in stems).encode())
        for stem, image in stems.items():
            drawn = _drawn(image, sheets[image], tuple(colors))
            put(f"{CLASSES}/{stem}.png", _png(np.array([BLACK, *colors.values()], np.uint8)[drawn]))
            put(f"{OBJECTS}/{stem}.png", _png(voc_colors()[drawn]))
    write_labels(colors, path)
    return write_whole(path, buffer.getvalue())


def read(path: str | Path) -> Iterator[Annotation]:
    """Yield the annotations of a zip or of the folder it was unpacked to; ``image`` lacks its suffix.

    A mask of colours is read by them, one of grey by the classes' order. Raises ``OwsegError`` for a colour or number
    that ``labelmap.txt`` does not have.
    """
    with opened(path, WHAT) as files:
        maps = [name for name in files if PurePosixPath(name).name == LABELMAP]
        if not maps:
            raise OwsegError(f"this is not {WHAT}: there is no {LABELMAP}.")
        labels = _labelmap(files[maps[0]]().decode())
        colors = {n: c for n, c in labels.items() if n != BACKGROUND and c != BLACK}
        below = PurePosixPath(maps[0]).with_name(CLASSES)
        for name, data in files.items():
            if below in PurePosixPath(name).parents and name.lower().endswith(".png"):
                image = PurePosixPath(name).relative_to(below).as_posix()[: -len(".png")]
                yield from joined(image, _shapes(open_picture(data()), name, labels, colors), colors)


def voc_colors() -> np.ndarray:
    """Return the 256 colours of Pascal VOC, (256, 3) uint8: bit b of channel c of colour i is its bit 3 (7 - b) + c."""
    i, b = np.arange(256)[:, None, None], np.arange(8)
    bits = (i >> (3 * (7 - b) + np.arange(3)[:, None])) & 1
    return (bits << b).sum(-1).astype(np.uint8)


def _shapes(
    picture: Image.Image, name: str, labels: Mapping[str, Color], colors: Mapping[str, Color]
) -> Iterator[tuple[str, np.ndarray]]:
    if picture.mode == "L":
        if next(iter(labels.values())) != BLACK:
            raise OwsegError(
                f"{name} is grey, and {LABELMAP} does not begin with the background, so 0 may be any class."
            )
        found, ids = np.asarray(picture), {n: i for i, n in enumerate(labels)}
    else:
        found = _number(np.asarray(picture.convert("RGB")))
        ids = {n: int(_number(np.array(c))) for n, c in labels.items()}
    present = set(np.unique(found).tolist())
    if strange := sorted(present - {0, *ids.values()}):
        what = f"the number {strange[0]}" if picture.mode == "L" else f"the colour #{strange[0]:06x}"
        raise OwsegError(f"{name} holds {what}, which {LABELMAP} does not have.")
    yield from ((n, found == ids[n]) for n in colors if ids[n] in present)


def _number(rgb: np.ndarray) -> np.ndarray:
    return rgb.astype(np.int64) @ [65536, 256, 1]


def _labelmap(text: str) -> dict[str, Color]:
    labels: dict[str, Color] = {}
    for line in text.replace("\r", "").split("\n"):
        if line.strip() and not line.startswith("#"):
            name, color = line.split(":")[:2]
            r, g, b = (int(v) for v in color.split(","))
            if (r, g, b) in labels.values():
                raise OwsegError(f"{LABELMAP} gives {name} the colour of another class.")
            labels[name.strip()] = (r, g, b)
    return labels


def _distinct(colors: Mapping[str, Color | None]) -> dict[str, Color]:
    """Return the colours, made up where there is none; raise ``OwsegError`` for what a label map cannot hold."""
    for name in colors:
        if ":" in name or name.startswith("#") or name != name.strip() or name == BACKGROUND:
            raise OwsegError(f"{LABELMAP} cannot hold a class {name!r}; rename it, or use cvat, coco or labelstudio.")
    if len(colors) > 255:
        raise OwsegError(f"{len(colors)} classes are more than the 255 that one archive of masks may hold.")
    taken = [c for c in colors.values() if c]
    for name, color in colors.items():
        if color == BLACK or (color and taken.count(color) > 1):
            what = "black, as the background" if color == BLACK else f"of the colour of another class, {color}"
            raise OwsegError(f"{name} is {what}, and a mask cannot tell them apart; use cvat, coco or labelstudio.")
    spare = (c for c in map(distinct_color, range(1 << 20)) if c not in taken)
    made: dict[str, Color] = {}
    for name, color in colors.items():
        made[name] = color or next(c for c in spare if c not in made.values())
    return made


def _drawn(image: str, sheet: ImageMasks, names: tuple[str, ...]) -> np.ndarray:
    drawn = np.zeros(sheet.size, np.uint8)
    for name, rle in sheet.masks.items():
        mask = unpacked(rle)
        if (drawn[mask] > 0).any():
            other = names[int(drawn[mask].max()) - 1]
            raise OwsegError(
                f"{name} and {other} overlap in {image}, and a pixel has one class here; use cvat or coco."
            )
        drawn[mask] = 1 + names.index(name)
    return drawn


def _stem(image: str) -> str:
    path = PurePosixPath(image)
    if path.is_absolute() or ".." in path.parts or "\\" in image:
        raise OwsegError(f"{image} is not a path below the images' folder; an archive cannot hold it.")
    return str(path.with_suffix("")) if path.suffix.lower() in SUFFIXES else str(path)


def _png(rgb: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue()
