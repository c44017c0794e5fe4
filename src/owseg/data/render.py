"""Label maps, scores and overlays as image files: pure functions from arrays to bytes."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from scipy import ndimage

from owseg.labels import RESERVED, UNKNOWN, Color, LabelSpace
from owseg.openset import Threshold

HATCH = (255, 255, 255)
"""The colour (RGB) of the lines across what is unknown: that of its outline."""


def overlay(image: np.ndarray, open_set: np.ndarray, space: LabelSpace) -> np.ndarray:
    """Return ``image`` (3, H, W) uint8 tinted in the colours of its open-set map (H, W), as (H, W, 3) uint8.

    Unknown regions are tinted more strongly, are hatched, as no class is, and have a white outline.
    """
    unknown = open_set == UNKNOWN
    # By a table of all (class, value): several times as fast as arithmetic with floats on each pixel.
    tint = np.concatenate([space.palette(), [HATCH]]).astype(np.float32).T[..., None]
    opacity = np.full((len(tint[0]), 1), 0.45, np.float32)
    opacity[[UNKNOWN, -1]] = 0.65  # less over known pixels, so that the image stays readable
    table = (np.arange(256, dtype=np.float32) * (1 - opacity) + tint * opacity).round().astype(np.uint8).reshape(3, -1)
    row = open_set.astype(np.int32)
    row[unknown & hatching(unknown.shape)] = len(opacity) - 1
    tinted = np.stack([table[i].take(row * 256 + channel) for i, channel in enumerate(image)], -1)
    inner = unknown.copy()  # unknown pixels whose four neighbours are unknown, too: all but the outline
    inner[1:-1, 1:-1] &= unknown[:-2, 1:-1] & unknown[2:, 1:-1] & unknown[1:-1, :-2] & unknown[1:-1, 2:]
    tinted[unknown & ~inner] = 255
    return tinted


def hatching(size: tuple[int, ...]) -> np.ndarray:
    """Return diagonal lines for an image of ``size`` (H, W), (H, W) bool: an eighth of it, wider in a larger one."""
    width = max(1, round(min(size) / 250))
    diagonal = np.arange(size[0] + size[1] - 1) // width % 8 == 0
    return np.lib.stride_tricks.sliding_window_view(diagonal, size[1])  # that of row + column, without a copy


def encode_legend(space: LabelSpace) -> bytes:
    """Return a PNG of the colours of all classes with their names, and of the unknown, as ``overlay`` hatches it."""
    side, line, rows = 22, 30, 24
    colors = space.palette()
    entries = [(name, np.tile(colors[i], (side, side, 1))) for i, name in enumerate(space.names)]
    lines = hatching((200, 200))[:side, :side, None]
    entries.append((RESERVED[UNKNOWN], np.where(lines, HATCH, colors[UNKNOWN])))
    font = ImageFont.load_default(16)
    wide = round(max(font.getlength(name) for name, _ in entries)) + side + 32
    columns = -(-len(entries) // rows)
    sheet = Image.new("RGB", (wide * columns, line * min(rows, len(entries)) + 8), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (name, swatch) in enumerate(entries):
        left, top = wide * (i // rows) + 8, line * (i % rows) + 8
        sheet.paste(Image.fromarray(swatch.astype(np.uint8)), (left, top))
        draw.rectangle((left, top, left + side, top + side), outline=(90, 90, 90))
        draw.text((left + side + 10, top + 2), name, (0, 0, 0), font)
    return _encoded(sheet, "PNG")


def draw_boxes(pixels: np.ndarray, boxes: Iterable[tuple[tuple[int, int, int, int], str]]) -> np.ndarray:
    """Return ``pixels`` (H, W, 3) uint8 with boxes (x, y, width, height), each with a text in its upper left corner."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    thick = max(1, round(min(image.size) / 300))
    font = ImageFont.load_default(max(10, min(image.size) / 36))
    for (x, y, width, height), text in boxes:
        draw.rectangle((x, y, x + width - 1, y + height - 1), outline=(255, 255, 255), width=thick)
        left, top, right, bottom = draw.textbbox((x + 2 * thick, y + thick), text, font)
        draw.rectangle((left - thick, top - thick, right + thick, bottom + thick), fill=(0, 0, 0))
        draw.text((x + 2 * thick, y + thick), text, (255, 255, 255), font)
    return np.asarray(image)


@dataclass(frozen=True, eq=False)
class Mark:
    """What is drawn around one thing: the outline of its ``mask`` (H, W) bool in a ``color``, and a ``text`` above it.

    ``box`` is x, y, width, height, which holds the mask; one that is ``strong`` has a thicker outline.
    """

    mask: np.ndarray
    box: tuple[int, int, int, int]
    text: str
    color: Color
    strong: bool


def draw_marks(pixels: np.ndarray, marks: Sequence[Mark]) -> np.ndarray:
    """Return ``pixels`` (H, W, 3) uint8 with the outlines and texts of ``marks``."""
    drawn, thin = pixels.copy(), max(1, round(min(pixels.shape[:2]) / 400))
    for mark in marks:
        x, y, width, height = mark.box
        inside = mark.mask[y : y + height, x : x + width]
        core = ndimage.binary_erosion(inside, iterations=thin * (3 if mark.strong else 1))
        drawn[y : y + height, x : x + width][inside & ~core] = mark.color
    image = Image.fromarray(drawn)
    draw, font = ImageDraw.Draw(image), _small_font(*image.size)
    for mark in (mark for mark in marks if mark.text):
        _, _, wide, high = draw.textbbox((0, 0), mark.text, font)
        # Above the thing, or inside it at the upper edge, and never beyond the image.
        left = min(mark.box[0], image.width - wide - 5)
        top = mark.box[1] - high - 5 if mark.box[1] > high + 5 else mark.box[1]
        draw.rectangle((left, top, left + wide + 4, top + high + 4), fill=mark.color)
        draw.text((left + 2, top + 1), mark.text, (0, 0, 0), font)
    return np.asarray(image)


def bright_color(i: int) -> Color:
    """Return the i-th of a fixed sequence of bright colours, on which black text can be read."""
    # Steps of the golden ratio in hue never come close to an earlier one; the colours of classes are less bright.
    r, g, b = colorsys.hsv_to_rgb(i * 0.61803398875 % 1.0, 0.6, 1.0)
    return int(r * 255), int(g * 255), int(b * 255)


def legend_strip(space: LabelSpace, size: tuple[int, int]) -> np.ndarray:
    """Return the strip (h, W, 3) uint8 below the frames, of ``size`` (H, W), of a video; its first line is empty.

    It has the colours of the classes and of the unknown, as many as fit into a third of the frame.
    """
    height, width = size
    font = _small_font(width, height)
    line = round(font.size * 1.5)
    palette, lines = space.palette(), hatching((200, 200))[:line, :line, None]
    entries = [(RESERVED[UNKNOWN], np.where(lines, HATCH, palette[UNKNOWN]))]
    entries += [(name, np.tile(palette[i], (line, line, 1))) for i, name in enumerate(space.names)]
    places, x, y = [], 0, line
    for name, _ in entries:
        wide = round(font.getlength(name)) + 2 * line
        if x and x + wide > width:
            x, y = 0, y + line
        places.append((x, y))
        x += wide
    most = max(2, height // 3 // line) * line
    sheet = Image.new("RGB", (width, min(y + line, most) + 4), (24, 24, 24))
    draw = ImageDraw.Draw(sheet)
    for (name, swatch), (x, y) in zip(entries, places, strict=True):
        side = round(font.size)
        sheet.paste(Image.fromarray(swatch[:side, :side].astype(np.uint8)), (x + 4, y + 2))
        draw.text((x + side + 9, y), name, (255, 255, 255), font)
    return np.asarray(sheet)


def with_strip(pixels: np.ndarray, strip: np.ndarray, text: str) -> np.ndarray:
    """Return ``pixels`` (H, W, 3) uint8 above a ``legend_strip``, whose first line is ``text``."""
    below = Image.fromarray(strip)
    ImageDraw.Draw(below).text((4, 1), text, (255, 255, 255), _small_font(pixels.shape[1], pixels.shape[0]))
    return np.concatenate([pixels, np.asarray(below)])


def _small_font(width: int, height: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(max(11, min(width, height) / 32))
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def encode_labels(labels: np.ndarray, space: LabelSpace) -> bytes:
    """Return (H, W) uint8 ids as a palette PNG in the classes' colours; the pixel values are the ids."""
    image = Image.fromarray(labels)  # as a palette image, ids and colours are in one file
    image.putpalette(space.palette().tobytes())
    return _encoded(image, "PNG")


def encode_score(score: np.ndarray, threshold: Threshold) -> bytes:
    """Return a score map (H, W) as a 16-bit PNG in which 32768 is the threshold; darker is known, brighter is unknown.

    value = 32768 + 8192 (score - threshold) / unit, clipped to 0..65535. ``threshold`` and ``unit`` (how far the
    threshold lies above the median known score) are in the file's text fields, so that the score can be computed back.
    """
    unit = threshold.unit
    # 16 bits reach four units to either side of the threshold.
    value = np.clip(np.round(32768 + 8192 * (score - threshold.value) / unit), 0, 65535).astype(np.uint16)
    text = PngImagePlugin.PngInfo()
    text.add_text("threshold", repr(threshold.value))
    text.add_text("unit", repr(unit))
    # Level 1 takes a quarter of the time of the default, for 3 % more bytes.
    return _encoded(Image.fromarray(value), "PNG", pnginfo=text, compress_level=1)


def encode_jpeg(pixels: np.ndarray) -> bytes:
    """Return (H, W, 3) uint8 as a JPEG."""
    return _encoded(Image.fromarray(pixels), "JPEG", quality=90)


def encode_png(pixels: np.ndarray) -> bytes:
    """Return (H, W, 3) uint8 as a PNG."""
    return _encoded(Image.fromarray(pixels), "PNG", compress_level=1)


def encode_npy(score: np.ndarray) -> bytes:
    """Return a score map (H, W) float32 as a NumPy file."""
    buffer = io.BytesIO()
    np.save(buffer, score)
    return buffer.getvalue()


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
