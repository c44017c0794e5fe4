"""``owseg discover``: the unknown regions of many images, in groups."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._options import KB, Json, Pictures
from owseg.cli._printing import complain, print_json


def discover(
    kb: KB,
    pictures: Pictures,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the queue; where there is one, go on with it.")],
    min_area: Annotated[
        float, typer.Option(help="The smallest region: below 1 a share of the image, from 1 on pixels.")
    ] = 0.002,
    split_at: Annotated[
        float, typer.Option(help="Touching things are told apart below this cosine, from -1 (never) to 1.")
    ] = 0.5,
    as_json: Json = False,
) -> None:
    """Find what is unknown in many images and put it into groups: a queue to decide about.

    Writes a folder with every unknown region, the groups in the order in which to look at them, and an overview,
    groups.jpg. A run that was stopped goes on where it was. Exit code 1 if any image could not be read.
    """
    from owseg.data.images import find_image_files
    from owseg.discovery.discover import discover as look_for
    from owseg.knowledge.load import load

    queue, found = look_for(load(kb), find_image_files(pictures), out, kb, min_area, split_at)
    if as_json:
        print_json({"queue": str(queue.folder), **vars(found)})
    else:
        for reason in found.skipped:
            complain(f"skipped: {reason}")
        copies = f" ({found.copies} of them repeat others)" if found.copies else ""
        print(f"{found.regions} unknown regions{copies} in {found.groups} groups, from {found.images} images.")
        print(f"Look at {out / 'groups.jpg'}. Next: owseg review {kb} {out}")
    if found.skipped:
        raise typer.Exit(1)
