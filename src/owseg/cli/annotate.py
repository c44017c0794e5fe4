"""``owseg annotate``: predictions as annotations for people to correct."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._options import KB, FullResolution, Json, MultiScale, Pictures
from owseg.cli.exchange import WRITABLE, Url, write_annotations


def annotate(
    kb: KB,
    pictures: Pictures,
    kind: Annotated[str, typer.Option("--format", help=f"One of {WRITABLE}.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the annotations, or their file.")],
    url: Url = "",
    full_resolution: FullResolution = False,
    multi_scale: MultiScale = False,
    as_json: Json = False,
) -> None:
    """Label images for people to correct in CVAT or Label Studio: classes by name and colour, and the unknown.

    Correct them there, name what was unknown, export, and give the export to owseg learn --shots.
    """
    from owseg.data.images import find_image_files
    from owseg.inference.annotate import predicted_annotations
    from owseg.knowledge.load import load

    base = load(kb)
    forward = partial(base.forward, full_resolution=full_resolution, multi_scale=multi_scale)
    write_annotations(
        predicted_annotations(base, find_image_files(pictures), forward), out, kind, url, as_json, predicted=True
    )
