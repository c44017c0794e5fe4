"""What a reviewer sees first: a thumbnail of each region, and an overview of the groups."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from owseg.data.images import read_image
from owseg.data.masks import Rle
from owseg.discovery.queue import Queue

SIDE = 160
"""Side of a thumbnail, in pixels."""


ROWS, COLUMNS = 12, 9
"""How many groups the overview shows, and how many regions of each."""


def thumbnail(image: np.ndarray, mask: Rle, box: tuple[int, int, int, int], side: int = SIDE) -> np.ndarray:
    """Return a region of ``image`` (3, H, W) outlined, with its surroundings, as a square (side, side, 3) uint8.

    ``box`` is x, y, width, height of the region ``mask``, in pixels.
    """
    x, y, width, height = box
    # With surroundings: an object is recognised by where it stands, too.
    half = max(width, height) * 0.7 + 8
    spans = zip((x, y), (width, height), (image.shape[2], image.shape[1]), strict=True)
    # Moved inside at the border of the image rather than padded, as far as the image is large enough.
    left, top = (round(np.clip(start + n / 2 - half, 0, max(0, most - 2 * half))) for start, n, most in spans)
    n, size = round(2 * half), (side, side)
    rows, columns = slice(top, top + n), slice(left, left + n)
    # ``crop`` fills what is beyond the image; that is cut first, as an image may have thousands of regions.
    inside, own = image[:, rows, columns].transpose(1, 2, 0), mask.mask()[rows, columns]
    crop = Image.fromarray(inside).crop((0, 0, n, n)).resize(size, Image.Resampling.BILINEAR)
    cut = Image.fromarray(own).crop((0, 0, n, n)).resize(size, Image.Resampling.NEAREST)
    inside, tile = np.asarray(cut) > 0, np.array(crop)
    # White around magenta: visible on any background.
    tile[ndimage.binary_dilation(inside, iterations=3) & ~inside] = 255
    tile[ndimage.binary_dilation(inside, iterations=2) & ~inside] = (255, 0, 200)
    return tile


def overview(queue: Queue) -> np.ndarray:
    """Return the first groups of a queue as one image (H, W, 3) uint8: one row each, its most typical regions first."""
    groups = queue.groups()[:ROWS]
    left, gap = 190, 6
    sheet = Image.new("RGB", (left + COLUMNS * (SIDE + gap), max(1, len(groups)) * (SIDE + gap) + gap), "white")
    draw, font, big = ImageDraw.Draw(sheet), ImageFont.load_default(15), ImageFont.load_default(30)
    if not groups:
        draw.text((12, 60), "no unknown region", "black", font)
    for row, group in enumerate(groups):
        top = gap + row * (SIDE + gap)
        copies = sum(map(len, group.copies.values()))
        nearest = [queue.region(r).nearest for r in group.regions[:COLUMNS]]
        lines = (
            f"{len(group)} region{'s' if len(group) > 1 else ''}",
            f"and {copies} cop{'ies' if copies > 1 else 'y'}" if copies else "",
        )
        draw.text((12, top + 6), str(group.number), "black", big)
        likely = max(dict.fromkeys(nearest), key=nearest.count)
        draw.text((12, top + 50), "\n".join((*filter(None, lines), f"nearest: {likely[:18]}")), "black", font)
        for column, region in enumerate(group.regions[:COLUMNS]):
            sheet.paste(_stored_thumbnail(queue, region), (left + column * (SIDE + gap), top))
    return np.asarray(sheet)


def _stored_thumbnail(queue: Queue, region: str) -> Image.Image:
    return Image.fromarray(read_image(queue.thumbnail(region)).transpose(1, 2, 0)).resize((SIDE, SIDE))
