"""A contact sheet of the score maps of a table's rows on one image: what each of them finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from owseg.data.datasets import open_dataset
from owseg.errors import OwsegError
from owseg.labels import UNKNOWN
from recipes.papers.run import Run
from recipes.papers.stored import read_metrics

COLUMNS, WIDTH, GAP, TEXT = 5, 240, 6, 18


def draw_sheet(run: Run, out: Path, data: str, number: int) -> Path:
    """Draw the score map of each row that was measured on image ``number`` of ``data``, dark to bright by rank.

    Orange lines are the edges of what is unknown. The image itself is not shown: few data sets allow it. Raises
    ``OwsegError`` where no row was measured.
    """
    given, tiles = run.table.data[data], []
    for row in run.table.rows:
        if read_metrics(run.runs / "metrics", row):
            labels = run.kb(row.model, given.unknown).labels
            sample = open_dataset(run.place(given.spec), given.split, labels)[number]
            score = run.image_scorer(row, given.unknown)(sample.image)
            tiles.append((row.name, tile(score, np.asarray(sample.target))))
    if not tiles:
        raise OwsegError(f"no row of {run.table.title} was measured in {run.runs}; run the table first.")
    height = tiles[0][1].height + TEXT + GAP
    lines = -(-len(tiles) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * (WIDTH + GAP) - GAP, lines * height - GAP), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for i, (name, image) in enumerate(tiles):
        x, y = i % COLUMNS * (WIDTH + GAP), i // COLUMNS * height
        pen.text((x, y), name, fill=(40, 40, 40), font=font)
        page.paste(image, (x, y + TEXT))
    page.save(out, quality=85)
    return out


def tile(score: np.ndarray, target: np.ndarray) -> Image.Image:
    """Return a score (H, W) as an image ``WIDTH`` wide: grey by the share of pixels with a lower one."""
    order = np.searchsorted(np.sort(score, None), score)  # ranks, of which ties have the same
    grey = Image.fromarray((255 * order / score.size).astype(np.uint8))
    size = (WIDTH, round(WIDTH * score.shape[0] / score.shape[1]))
    pixels = np.array(grey.resize(size).convert("RGB"))
    inside = np.array(Image.fromarray(target == UNKNOWN).resize(size, Image.Resampling.NEAREST))
    pixels[inside & ~ndimage.binary_erosion(inside)] = (255, 80, 0)
    return Image.fromarray(pixels)
