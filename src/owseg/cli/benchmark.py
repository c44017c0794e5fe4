"""``owseg benchmark``: models x scorers x data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._options import Json
from owseg.cli._printing import complain, print_json, print_table


def benchmark(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="What to measure.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for maps, results and images; go on with it.")],
    workers: Annotated[int, typer.Option(help="Processes that take the metrics.")] = 1,
    as_json: Json = False,
) -> None:
    """Measure models x scorers x data sets: tables (Markdown, LaTeX, CSV, JSON) and images.

    A run that was stopped goes on where it was: give it the same folder. The least that a recipe says:

    \b
        models.mine.kb = "street8"
        data.camvid.spec = "camvid:$OWSEG_DATA/camvid"

    docs/benchmark.md has the rest.
    """
    from owseg.benchmark.recipe import read_recipe
    from owseg.benchmark.run import run

    told = read_recipe(recipe)
    for line in told.left_out:
        complain(f"left out: {line}")
    results = run(told, out, workers, complain)
    if as_json:
        print_json(results.to_json())
        return
    for table in results.tables():
        print_table(*table)
    print(f"All figures are in {out}/results.md, .tex, .csv and .json; images are in {out}/images/.")
