"""One photo in many sizes: how much of it is unknown, from 512 to 6000 pixels wide.

    export OWSEG_DATA=DIR                          # DIR/anomaly/RoadAnomaly21
    python -m recipes.sizes                        # of street; --kb for another, 3 minutes

The photos are the ten of RoadAnomaly21's validation set, resized by Lanczos' filter. Above their own width of 1280
pixels that adds no detail: what is measured is whether a network with a working size is told the size of an image.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from PIL import Image

from owseg._progress import track
from owseg.data.datasets import open_dataset
from owseg.knowledge.load import load
from owseg.labels import UNKNOWN
from recipes.tables import markdown

WIDTHS = (512, 1024, 2048, 4096, 6000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kb", default="street")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("OWSEG_DATA", "data")))
    args = parser.parse_args()
    kb = load(args.kb)
    data = open_dataset(f"roadanomaly21:{args.data}/anomaly/RoadAnomaly21", "val", kb.labels)
    rows, ratios = [], []
    for i, name in enumerate(track(data.source.ids, "photos", len(data))):
        photo = Image.fromarray(data.source.read(i)[0].transpose(1, 2, 0))
        shares = []
        for width in WIDTHS:
            resized = photo.resize((width, round(width * photo.height / photo.width)), Image.Resampling.LANCZOS)
            shares.append(float((kb.predict(np.asarray(resized)).open_set == UNKNOWN).mean()))
        ratios.append(max(shares) / min(shares))
        rows.append((name, *(f"{share:.3f}" for share in shares), f"{ratios[-1]:.2f}"))
    header = ("photo", *(f"{width} px" for width in WIDTHS), "largest / smallest")
    markdown(f"Share of unknown by width, {args.kb}: at most {max(ratios):.2f} times", header, rows)


if __name__ == "__main__":
    main()
