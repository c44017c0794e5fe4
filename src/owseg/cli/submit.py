"""``owseg submit``: score files for the hidden tests of SegmentMeIfYouCan and Fishyscapes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._compute import Compute
from owseg.cli._images import given_images
from owseg.cli._options import KB, FullResolution, Images, Json, MultiScale, Recursive, Size, Tile, parse_settings
from owseg.cli._printing import exit_code, print_error, print_json, print_note, say


def submit(
    kb: KB,
    images: Images,
    to: Annotated[str, typer.Option("--format", help="Whose hidden test it is for: {submissions}.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the files: a new one, or one to resume.")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="An option of the format; may be repeated: {submission_options}."
        ),
    ] = None,
    full_resolution: FullResolution = False,
    multi_scale: MultiScale = False,
    size: Size = None,
    tile: Tile = False,
    recursive: Recursive = False,
    as_json: Json = False,
    compute: Compute = Compute(),  # noqa: B008
) -> None:
    """Write score files for a hidden test: a benchmark whose masks are not published.

    Images that have their files already are left out, so a run that was stopped is resumed by the same command. Exit
    code 3 if some images could not be read, 1 if none could.
    """
    from owseg._files import check_writable
    from owseg.inference.submit import submit as write_files

    check_writable(out)
    run = {"full_resolution": full_resolution, "multi_scale": multi_scale, "size": size, "tile": tile}
    paths = given_images(images, recursive, out).paths
    results, note = write_files(compute.load(kb), paths, out, to, parse_settings(settings), run)
    failed = [r for r in results if r.error]
    if as_json:
        print_json({"kb": kb, "out": str(out), "note": note, "results": [r.to_json() for r in results]})
    else:
        for result in failed:
            print_error(f"skipped: {result.error}")
        if note:
            print_note(f"Note: {note}")
        kept = sum(r.kept for r in results)
        there = f" ({kept} of them before)" if kept else ""
        say(f"{len(results) - len(failed)} of {len(results)} images have their files in {out}/{there}.")
    raise typer.Exit(exit_code(len(failed), len(results)))
