"""The image of the README: ``python -m recipes.overview`` writes docs/loop.jpg from the shipped demo (seed 0)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from owseg.data.datasets import open_dataset
from owseg.data.shots import sample_shots
from owseg.knowledge.load import load
from owseg.learners.learn import learn
from owseg.report.demo import strips

SCALE, GAP, TEXT = 2, 10, 34


def main() -> None:
    before = load("synthetic")
    shots = sample_shots(open_dataset("synthetic", "shots"), "animal", 5)
    after = learn(before, "animal", shots, open_dataset("synthetic", "val", before.labels))
    rows = strips(before, after, open_dataset("synthetic", "test", before.labels), "animal")[:2]
    captions = [caption for caption, _ in rows[0].images]
    height, width = (SCALE * n for n in rows[0].images[0][1].shape[:2])
    sheet = Image.new("RGB", (len(captions) * (width + GAP) - GAP, len(rows) * (height + GAP) - GAP + TEXT), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(24)
    for x, caption in enumerate(captions):
        pen.text((x * (width + GAP), 2), caption, fill=(40, 40, 40), font=font)
        for y, row in enumerate(rows):
            image = Image.fromarray(np.asarray(row.images[x][1])).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(image, (x * (width + GAP), TEXT + y * (height + GAP)))
    sheet.save(Path("docs/loop.jpg"), quality=88)


if __name__ == "__main__":
    main()
