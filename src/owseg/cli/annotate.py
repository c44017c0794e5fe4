"""``owseg annotate``: predictions as annotations for people to correct."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._compute import Compute
from owseg.cli._images import given_images
from owseg.cli._options import KB, FullResolution, Images, Json, MultiScale, Recursive, Size, Tile
from owseg.cli.exchange import Settings, Url, format_options, write_annotations


def annotate(
    kb: KB,
    images: Images,
    to: Annotated[str, typer.Option("--format", help="Format of the annotations: {writable}.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the annotations, or their file.")],
    url: Url = "",
    settings: Settings = None,
    full_resolution: FullResolution = False,
    multi_scale: MultiScale = False,
    size: Size = None,
    tile: Tile = False,
    recursive: Recursive = False,
    as_json: Json = False,
    compute: Compute = Compute(),  # noqa: B008
) -> None:
    """Predict images and write the result as annotations, for people to correct in CVAT, Label Studio or another tool.

    Correct them there, name the unknown regions, export, and give the export to owseg learn --shots.
    """
    from owseg._files import check_writable
    from owseg.inference.annotate import predicted_annotations

    check_writable(out.parent if out.suffix else out)  # before the network is loaded
    options = format_options(settings, url)
    paths, base = given_images(images, recursive).paths, compute.load(kb)
    forward = base.engine(full_resolution=full_resolution, multi_scale=multi_scale, size=size, tile=tile)
    annotations = predicted_annotations(base, paths, forward)
    write_annotations(annotations, out, to, options, as_json, predicted=True)
