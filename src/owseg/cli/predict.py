"""``owseg predict``: images in, label maps and anomaly scores out."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._options import FullResolution, Images, Json, MultiScale, Size, Tile
from owseg.cli._printing import print_json, print_note

if TYPE_CHECKING:
    from owseg.inference.predict import Result


def predict(
    images: Images,
    kb: Annotated[
        str, typer.Option("--kb", help="Directory of a knowledge base, or the name of a shipped one: {shipped}.")
    ] = "street",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the maps.")] = Path("predictions"),
    npy: Annotated[bool, typer.Option("--npy", help="Write scores as float32 .npy instead of 16-bit PNG.")] = False,
    full_resolution: FullResolution = False,
    multi_scale: MultiScale = False,
    size: Size = None,
    tile: Tile = False,
    as_json: Json = False,
) -> None:
    """Label every pixel of images, and mark those that are unknown.

    Writes, for each image NAME: NAME.labels.png (class ids, with a palette), NAME.score.png (anomaly score) and
    NAME.open.jpg (the image tinted with its classes, the unknown in magenta). Exit code 1 if any image could not be
    read.
    """
    from owseg.data.images import find_image_files
    from owseg.inference.predict import predict_files
    from owseg.knowledge.load import load

    base = load(kb)
    forward = partial(base.forward, full_resolution=full_resolution, multi_scale=multi_scale, size=size, tile=tile)
    results = predict_files(base, find_image_files(images), out, npy, forward)
    failed = [r for r in results if r.error]
    if as_json:
        print_json({"kb": kb, "out": str(out), "results": [r.to_json() for r in results]})
    else:
        for result in failed:
            print_note(f"skipped: {result.error}")
        print(f"{len(results) - len(failed)} of {len(results)} images labelled; the maps are in {out}/.")
        if done := [r for r in results if r.unknown is not None]:
            most = max(done, key=lambda r: r.unknown or 0.0)
            if size is None and not tile and (far := [r for r in done if r.is_far]):
                print_note(_far_note(far, base.network.size))
            print(f"Most unknown: {most.path} ({most.unknown:.1%} of its pixels); see its .open.jpg.")
    if failed:
        # All that could be labelled is on the disk; the exit code tells scripts that some could not.
        raise typer.Exit(1)


def _far_note(far: list[Result], size: int | None) -> str:
    smaller = sum((r.factor or 1) < 1 for r in far)
    what = (
        f"{smaller} of the images are more than twice as large as" if smaller else "some images are less than half of"
    )
    which = "small things in them may be missed" if smaller else "they were enlarged, which adds no detail"
    ways = "--size N asks for another size, --tile for tiles"
    return f"Note: {what} the working size ({size} pixels, shorter side): {which}; {ways}."
