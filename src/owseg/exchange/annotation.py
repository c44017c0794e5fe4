"""The noun that all labelling tools share: a class name and a mask on an image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from owseg.data.masks import PackedMask, check_size, packed, union, unpacked
from owseg.errors import OwsegError
from owseg.labels import IGNORE, RESERVED, Color

VOID = RESERVED[IGNORE]
"""The class name under which a person marks what nobody could name (see ``Shot.void``)."""


_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # XML 1.0 has no way to write these


@dataclass(frozen=True, eq=False)
class Annotation:
    """Where the class ``name`` is in the image ``image``: ``mask`` (H, W) bool; the rest of the image is IGNORE.

    ``image`` is the image's file name, or its path below the folder of all images, with ``/``. ``color`` is RGB,
    0..255. Raises ``OwsegError`` for a mask that is not (H, W) bool, and for names that are empty or hold a line break
    or another control character.
    """

    name: str
    mask: np.ndarray
    image: str
    color: Color | None = None

    def __post_init__(self) -> None:
        if self.mask.ndim != 2 or self.mask.dtype != bool:
            raise OwsegError(f"the mask of {self.image} is {self.mask.shape} {self.mask.dtype}; give (H, W) bool.")
        check_size(*self.mask.shape)
        for text, what in ((self.name, "class"), (self.image, "image")):
            if not isinstance(text, str) or not text.strip() or _UNWRITABLE.search(text):
                raise OwsegError(f"{text!r} is no name of a {what}; write one line of text.")
        if self.color is not None and not (
            len(self.color) == 3 and all(isinstance(c, int) and 0 <= c <= 255 for c in self.color)
        ):
            raise OwsegError(f"the colour {self.color!r} of {self.name!r} is not three integers from 0 to 255.")


@dataclass
class ImageMasks:
    """What is marked in one image of ``size`` (H, W): a packed mask by class name."""

    size: tuple[int, int]
    masks: dict[str, PackedMask] = field(default_factory=dict)


def gathered(annotations: Iterable[Annotation]) -> tuple[dict[str, ImageMasks], dict[str, Color | None]]:
    """Return the sheets by image and the colours by class, both in the order in which they first come.

    A class that is marked twice in an image is marked where either mask is. Masks are packed at once, so
    ``annotations`` may be far more than memory holds. Raises ``OwsegError`` for two sizes of one image.
    """
    sheets: dict[str, ImageMasks] = {}
    colors: dict[str, Color | None] = {}
    for a in annotations:
        size = (a.mask.shape[0], a.mask.shape[1])
        sheet = sheets.setdefault(a.image, ImageMasks(size))
        if sheet.size != size:
            raise OwsegError(f"{a.image} has masks of two sizes, {_text(sheet.size)} and {_text(size)}.")
        rle = packed(a.mask)
        sheet.masks[a.name] = union(sheet.masks[a.name], rle) if a.name in sheet.masks else rle
        colors[a.name] = colors.get(a.name) or a.color
    return sheets, colors


def joined(
    image: str, shapes: Iterable[tuple[str, np.ndarray]], colors: Mapping[str, Color | None]
) -> Iterator[Annotation]:
    """Yield one annotation for each class of ``shapes`` (name, mask) of one image, in the order they first come."""
    masks: dict[str, PackedMask] = {}
    for name, mask in shapes:
        masks[name] = union(masks[name], packed(mask)) if name in masks else packed(mask)
    for name, rle in masks.items():
        yield Annotation(name, unpacked(rle), image, colors.get(name))


def hex_color(color: Color) -> str:
    """Return ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def from_hex(text: str | None) -> Color | None:
    """Return the colour that ``#rrggbb`` names; None for nothing; raise ``OwsegError`` for anything else."""
    if not text:
        return None
    if not re.fullmatch("#[0-9a-fA-F]{6}", text):
        raise OwsegError(f"{text!r} is no colour; write #rrggbb.")
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:], 16)


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
