"""CVAT's "Segmentation mask 1.1": a zip, or the folder it is unpacked to, with a mask in class colours for each image.

https://docs.cvat.ai/docs/dataset_management/formats/format-smask. A pixel has one class in this format, so masks must
not overlap; masks without a pixel and the suffixes of image names are lost.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from owseg._files import write_whole
from owseg._registry import Card
from owseg.data.images import SUFFIXES
from owseg.data.masks import Rle
from owseg.errors import OwsegError
from owseg.exchange._cvat_labels import write_labels
from owseg.exchange.annotation import Annotation, ImageMasks, by_class, by_image
from owseg.exchange.archive import Files
from owseg.exchange.base import Format
from owseg.exchange.shapes import open_mask_image
from owseg.labels import Color, distinct_color

WHAT = "a CVAT archive of segmentation masks"


LABELMAP, CLASSES, OBJECTS = "labelmap.txt", "SegmentationClass", "SegmentationObject"


BACKGROUND, BLACK = "background", (0, 0, 0)


def write(annotations: Iterable[Annotation], path: Path, predicted: bool = False) -> Path:
    """Write the zip ``path`` and the labels beside it; the format has no place for what is ``predicted``.

    Classes without a colour get one. Raises ``OwsegError`` for masks that overlap, two classes of one colour, a black
    one, class names that a label map cannot hold, and two images that differ in their suffix alone.
    """
    marked, given = by_image(annotations)
    colors = _distinct(given)
    stems = {_stem(image): image for image in marked}
    if len(stems) < len(marked):
        twice = next(i for i in marked if stems[_stem(i)] != i)
        raise OwsegError(
            f"{twice} and {stems[_stem(twice)]} have one name without their suffixes; use cvat, coco or labelstudio."
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:

        def put(name: str, data: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)  # no date: same masks, same bytes

        rows = [f"{n}:{','.join(map(str, c))}::" for n, c in {BACKGROUND: BLACK, **colors}.items()]
        put(LABELMAP, "\n".join(["# label:color_rgb:parts:actions", *rows, ""]).encode())
        put("ImageSets/Segmentation/default.txt", "".join(f"{stem}\n" for stem in stems).encode())
        for stem, image in stems.items():
            drawn = _index_map(image, marked[image], tuple(colors))
            # Colours by index: (H, W) -> (H, W, 3).
            put(f"{CLASSES}/{stem}.png", _png(np.array([BLACK, *colors.values()], np.uint8)[drawn]))
            # One object a class: CVAT takes instances from these colours.
            put(f"{OBJECTS}/{stem}.png", _png(voc_colors()[drawn]))
    write_labels(colors, path)
    return write_whole(path, buffer.getvalue())


def read(files: Files) -> Iterator[Annotation]:
    """Yield the annotations of the masks beside each ``labelmap.txt``; the ``image`` of each has no suffix.

    The classes of a mask in colours are read by colour, those of a grey mask by their order in ``labelmap.txt``. Raises
    ``OwsegError`` for a colour or number that it does not have.
    """
    for labelmap in files.fitting(fits, WHAT):
        labels = _labelmap(files.read(labelmap).decode("utf-8-sig"))  # with the mark that Windows editors put first
        colors = {n: c for n, c in labels.items() if n != BACKGROUND and c != BLACK}
        below = PurePosixPath(labelmap).with_name(CLASSES)
        for name in files:
            if below in PurePosixPath(name).parents and name.lower().endswith(".png"):
                image = PurePosixPath(name).relative_to(below).as_posix()[: -len(".png")]
                yield from by_class(image, _shapes(open_mask_image(files.read(name)), name, labels, colors), colors)


def fits(files: Files, name: str) -> bool:
    """Return whether the file ``name`` is the label map of such an archive, which no other format has."""
    return PurePosixPath(name).name == LABELMAP


def voc_colors() -> np.ndarray:
    """Return the 256 colours of Pascal VOC, (256, 3) uint8: bit b of channel c of colour i is its bit 3 (7 - b) + c."""
    i, b = np.arange(256)[:, None, None], np.arange(8)
    bits = (i >> (3 * (7 - b) + np.arange(3)[:, None])) & 1
    colors: np.ndarray = (bits << b).sum(-1).astype(np.uint8)
    return colors


def _shapes(
    mask: Image.Image, name: str, labels: Mapping[str, Color], colors: Mapping[str, Color]
) -> Iterator[tuple[str, Rle]]:
    if mask.mode == "L":
        if next(iter(labels.values()), None) != BLACK:
            raise OwsegError(
                f"{name} is grey, and {LABELMAP} does not begin with the background, so 0 may be any class."
            )
        found, ids = np.asarray(mask), {n: i for i, n in enumerate(labels)}
    else:
        found = _number(np.asarray(mask.convert("RGB")))
        # Colours as numbers, so that a class is one comparison of a plane.
        ids = {n: r << 16 | g << 8 | b for n, (r, g, b) in labels.items()}
    is_present = np.zeros(256 if mask.mode == "L" else 1 << 24, bool)
    is_present[found.ravel()] = True  # np.unique would sort all pixels
    present = set(np.flatnonzero(is_present).tolist())
    if undefined := sorted(present - {0, *ids.values()}):
        what = f"the number {undefined[0]}" if mask.mode == "L" else f"the colour #{undefined[0]:06x}"
        raise OwsegError(f"{name} holds {what}, which {LABELMAP} does not have.")
    yield from ((n, Rle.of(found == ids[n])) for n in colors if ids[n] in present)


def _number(rgb: np.ndarray) -> np.ndarray:
    """Return colours (H, W, 3) uint8 as one number a pixel, (H, W) uint32."""
    number: np.ndarray = rgb[..., 0].astype(np.uint32)  # channel by channel, as masks may be large
    for channel in (1, 2):
        number <<= 8
        number |= rgb[..., channel]
    return number


def _labelmap(text: str) -> dict[str, Color]:
    labels: dict[str, Color] = {}
    taken: set[Color] = set()
    for line in text.replace("\r", "").split("\n"):
        if line.strip() and not line.startswith("#"):
            name, color = line.split(":")[:2]
            r, g, b = (int(v) for v in color.split(","))
            if (r, g, b) in taken:
                raise OwsegError(f"{LABELMAP} gives {name} the colour of another class.")
            labels[name.strip()] = (r, g, b)
            taken.add((r, g, b))
    return labels


def _distinct(colors: Mapping[str, Color | None]) -> dict[str, Color]:
    """Return a distinct colour for every class; raise ``OwsegError`` for what a label map cannot hold."""
    for name in colors:
        if ":" in name or name.startswith("#") or name != name.strip() or name == BACKGROUND:
            raise OwsegError(f"{LABELMAP} cannot hold a class {name!r}; rename it, or use cvat, coco or labelstudio.")
    if len(colors) > 255:
        raise OwsegError(f"an archive of masks holds at most 255 classes, not {len(colors)}; use cvat or coco.")
    taken = [c for c in colors.values() if c]
    for name, color in colors.items():
        if color == BLACK or (color and taken.count(color) > 1):
            what = "black, as the background" if color == BLACK else f"of the colour of another class, {color}"
            raise OwsegError(f"{name} is {what}, and a mask cannot tell them apart; use cvat, coco or labelstudio.")
    # A drawn colour may be given to a class that comes later, so all given ones are left out first.
    spare = (c for c in map(distinct_color, range(1 << 20)) if c not in taken)
    made: dict[str, Color] = {}
    for name, color in colors.items():
        made[name] = color or next(c for c in spare if c not in made.values())
    return made


def _index_map(image: str, marked: ImageMasks, names: tuple[str, ...]) -> np.ndarray:
    """Return (H, W) uint8: 0 off all masks, 1 + i on that of ``names[i]``."""
    drawn = np.zeros(marked.size, np.uint8)
    for name, rle in marked.masks.items():
        mask = rle.mask()
        if (drawn[mask] > 0).any():  # refused rather than decided: either choice would lose what someone marked
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


def cvat_masks() -> Format:
    """Return the format."""
    return Format(WHAT, fits, read, write)


CARDS = (
    Card(
        "cvat-masks",
        "CVAT Segmentation mask 1.1",
        make=cvat_masks,
        source="https://docs.cvat.ai/docs/dataset_management/formats/format-smask",
        facts={
            "reads": "zip or folder",
            "writes": "`annotations.zip`, and the same labels",
            "loses": "overlaps are refused; empty masks; the suffix of an image's name",
            "suffix": ".zip",
            "hint": "in CVAT, make a task of the images with the labels in {stem}.labels.json (Raw); then Upload "
            "annotations, Segmentation mask 1.1.",
        },
    ),
)
