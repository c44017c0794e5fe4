"""Labelling images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._options import FullResolution, Json, MultiScale, Pictures
from owseg.cli._printing import complain, print_json


def predict(
    pictures: Pictures,
    kb: Annotated[str, typer.Option("--kb", help="The knowledge base to ask.")] = "street",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the maps.")] = Path("predictions"),
    npy: Annotated[bool, typer.Option("--npy", help="Write scores as float32 .npy instead of 16-bit PNG.")] = False,
    full_resolution: FullResolution = False,
    multi_scale: MultiScale = False,
    as_json: Json = False,
) -> None:
    """Label images and say what in them is unknown.

    Writes, for each NAME: NAME.labels.png (class ids, palette), NAME.score.png (anomaly score) and NAME.open.jpg (the
    image with its classes tinted and the unknown in magenta). Exit code 1 if any image could not be read.
    """
    from owseg.data.images import find_image_files
    from owseg.inference.predict import predict_files
    from owseg.knowledge.load import load

    base = load(kb)
    forward = partial(base.forward, full_resolution=full_resolution, multi_scale=multi_scale)
    results = predict_files(base, find_image_files(pictures), out, npy, forward)
    failed = [r for r in results if r.error]
    if as_json:
        print_json(
            {
                "out": str(out),
                "results": [{"path": str(r.path), "unknown": r.unknown, "error": r.error} for r in results],
            }
        )
    else:
        for result in failed:
            complain(f"skipped: {result.error}")
        print(f"{len(results) - len(failed)} of {len(results)} images labelled; the maps are in {out}/.")
        if done := [r for r in results if r.unknown is not None]:
            most = max(done, key=lambda r: r.unknown or 0.0)
            print(f"Most unknown: {most.path} ({most.unknown:.1%} of its pixels); look at its .open.jpg.")
    if failed:
        raise typer.Exit(1)
