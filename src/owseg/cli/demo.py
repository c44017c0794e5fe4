"""``owseg demo``: the open-world loop once, as a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._compute import Compute
from owseg.cli._options import Json, data_spec
from owseg.cli._printing import print_json, say


def demo(
    data: Annotated[
        str,
        typer.Option(
            "--data", callback=data_spec, help="synthetic (generated, no download), camvid:DIR or another KIND:DIR."
        ),
    ] = "synthetic",
    kb: Annotated[
        str | None, typer.Option("--kb", help="A knowledge base that knows all classes but the one to learn.")
    ] = None,
    learn: Annotated[str | None, typer.Option("--learn", help="The class to learn.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the report.")] = Path("owseg-demo"),
    seed: Annotated[int, typer.Option(help="Seed of the choice of shots.")] = 0,
    as_json: Json = False,
    compute: Compute = Compute(),  # noqa: B008
) -> None:
    """Go once through the open-world loop: predict, find the unknown, learn it from five images, predict again.

    Writes a report to open in a browser. --kb and --learn have defaults for synthetic and CamVid.
    """
    from owseg.report.demo import run

    result = run(data, kb, learn, out, seed, compute.load)
    if as_json:
        print_json(result)
    else:
        say(result["summary"])
