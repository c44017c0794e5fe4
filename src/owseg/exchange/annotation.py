"""What all formats have in common: an annotation is a class name and a mask on an image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from owseg.data.masks import Rle, check_size
from owseg.errors import OwsegError
from owseg.labels import IGNORE, KNOWN, RESERVED, Color

VOID = RESERVED[IGNORE]
"""The class name of pixels that are ignored (see ``Shot.void``)."""


MAX_SHAPES = 10_000
"""The shapes that one image may have; those of crowds in published data sets have a few hundred."""


MAX_MASKS = 1 << 31
"""The pixels of an image times the classes in it: 32 classes where it is as large as images may be."""


_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # XML 1.0 has no way to write these


@dataclass(frozen=True, eq=False)
class Annotation:
    """Where the class ``name`` is in the image ``image``: ``mask`` (H, W) bool; the rest of the image is IGNORE.

    ``image`` is the image's file name, or its path below the folder of all images, with ``/``. ``color`` is RGB,
    0..255. Raises ``OwsegError`` for a mask that is not (H, W) bool, and for names that are empty or hold a line break
    or another control character.
    """

    name: str
    mask: np.ndarray = field(repr=False)
    image: str
    color: Color | None = None

    def __post_init__(self) -> None:
        if self.mask.ndim != 2 or self.mask.dtype != bool:
            raise OwsegError(f"the mask of {self.image} is {self.mask.shape} {self.mask.dtype}; give (H, W) bool.")
        check_size(*self.mask.shape)
        # One line of text passes through every format; what a format cannot hold besides, it refuses itself.
        for text, what in ((self.name, "a class"), (self.image, "an image")):
            if not isinstance(text, str) or not text.strip() or _UNWRITABLE.search(text):
                raise OwsegError(f"{text!r} cannot be the name of {what}; write one line of text.")
        if self.color is not None and not (
            len(self.color) == 3 and all(isinstance(c, int) and 0 <= c <= 255 for c in self.color)
        ):
            raise OwsegError(f"the colour {self.color!r} of {self.name!r} is not three integers from 0 to 255.")


@dataclass
class ImageMasks:
    """What is marked in one image of ``size`` (H, W): a mask by class name."""

    size: tuple[int, int]
    masks: dict[str, Rle] = field(default_factory=dict)


def by_image(annotations: Iterable[Annotation]) -> tuple[dict[str, ImageMasks], dict[str, Color | None]]:
    """Return the masks by image and the colours by class, both in the order in which they first come.

    The mask of a class that is annotated twice in an image is the union. Masks become run lengths at once, so that
    ``annotations`` may be far more than memory holds. Raises ``OwsegError`` for two sizes of one image.
    """
    images: dict[str, ImageMasks] = {}
    colors: dict[str, Color | None] = {}
    for a in annotations:
        size = (a.mask.shape[0], a.mask.shape[1])
        image = images.setdefault(a.image, ImageMasks(size))
        if image.size != size:
            raise OwsegError(f"{a.image} has masks of two sizes, {_text(image.size)} and {_text(size)}.")
        rle = Rle.of(a.mask)
        image.masks[a.name] = image.masks[a.name].union(rle) if a.name in image.masks else rle
        colors[a.name] = colors.get(a.name) or a.color  # formats have one colour a class: the first that is given
    return images, colors


def by_class(image: str, shapes: Iterable[tuple[str, Rle]], colors: Mapping[str, Color | None]) -> Iterator[Annotation]:
    """Yield one annotation for each class of the ``shapes`` (name, mask) of an image: the union of its masks.

    Classes come in the order in which they first appear. Raises ``OwsegError`` for more than ``MAX_SHAPES``, for more
    classes than a label space holds, and for masks of more than ``MAX_MASKS`` pixels.
    """
    masks: dict[str, list[Rle]] = {}
    for number, (name, rle) in enumerate(shapes):
        masks.setdefault(name, []).append(rle)
        most = min(KNOWN, MAX_MASKS // (rle.size[0] * rle.size[1]))
        if number >= MAX_SHAPES or len(masks) > most:
            many = f"{MAX_SHAPES:,} shapes" if number >= MAX_SHAPES else f"{most} classes"
            raise OwsegError(f"{image} has more than {many}; remove some, or leave the image out.")
    for name, (first, *others) in masks.items():
        yield Annotation(name, first.union(*others).mask(), image, colors.get(name))


def hex_color(color: Color) -> str:
    """Return ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def from_hex(text: str | None) -> Color | None:
    """Return the colour of ``#rrggbb``, and None for no text; raise ``OwsegError`` for anything else."""
    if not text:
        return None
    if not re.fullmatch("#[0-9a-fA-F]{6}", text):
        raise OwsegError(f"{text!r} is not a colour; write #rrggbb.")
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:], 16)


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
