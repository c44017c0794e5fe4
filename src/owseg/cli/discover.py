"""``owseg discover``: the unknown regions of many images, in groups."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._cluster import ClusterCompute
from owseg.cli._images import given_images
from owseg.cli._options import KB, Images, Json, Recursive
from owseg.cli._printing import exit_code, next_command, print_error, print_json, say


def discover(
    kb: KB,
    images: Images,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the queue; one that is there is continued.")],
    min_area: Annotated[
        float, typer.Option(help="The smallest region: below 1 a share of the image, from 1 on pixels.")
    ] = 0.002,
    split_at: Annotated[
        float, typer.Option(help="Objects that touch are separated below this cosine, from -1 (never) to 1.")
    ] = 0.5,
    recursive: Recursive = False,
    as_json: Json = False,
    compute: ClusterCompute = ClusterCompute(),  # noqa: B008
) -> None:
    """Find the unknown regions of many images and group similar ones: a queue for owseg review.

    Writes a folder with every unknown region, the groups in the order of review, and an overview, groups.jpg. A run
    that was stopped continues where it was. Exit code 3 if some images could not be read (errors.csv names them), 1 if
    none could.
    """
    from owseg._files import check_writable
    from owseg.discovery.discover import discover as find_and_group

    check_writable(out)
    cluster, here = compute.shared()
    paths = given_images(images, recursive, out).paths
    queue, found = find_and_group(here.load(kb), paths, out, kb, min_area, split_at, cluster=cluster)
    if as_json:
        print_json({"queue": str(queue.folder), **vars(found)})
    else:
        for reason in found.skipped:
            print_error(f"skipped: {reason}")
        copies = f" ({found.copies} of them near-duplicates)" if found.copies else ""
        say(f"{found.regions} unknown regions{copies} in {found.groups} groups, from {found.images} images.")
        target = () if Path(kb).is_dir() else ("--out", "NEW_KB")  # a shipped knowledge base is not changed
        say(f"An overview is in {out / 'groups.jpg'}. {next_command('review', kb, out, *target)}")
    raise typer.Exit(exit_code(len(found.skipped), len(paths)))
