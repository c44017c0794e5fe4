"""``owseg benchmark``: models x scorers x data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._compute import Compute
from owseg.cli._options import Json
from owseg.cli._printing import SOME_SKIPPED, print_json, print_note, print_table, say


def benchmark(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE.toml", help="Models, scorers and data sets to measure (see above).")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for maps, results and plots; one that is begun is continued.")
    ],
    as_json: Json = False,
    compute: Compute = Compute(),  # noqa: B008
) -> None:
    """Evaluate models x scorers x data sets: tables (Markdown, LaTeX, CSV, JSON) and plots.

    A run that was stopped continues where it was if it is given the same folder. Exit code 3 if some images or masks
    could not be read: the metrics are those of the others. The shortest recipe:

    \b
        models.mine.kb = "street8"
        data.camvid.spec = "camvid:$OWSEG_DATA/camvid"

    docs/benchmark.md has the rest, such as the options of scorers: models.NAME.options.SCORER.
    """
    from owseg._files import check_writable
    from owseg.benchmark.recipe import read_recipe
    from owseg.benchmark.run import run

    wanted = read_recipe(recipe)
    check_writable(out)
    for line in wanted.left_out:
        print_note(f"left out: {line}")
    results = run(wanted, out, compute.workers or 1, print_note, compute.load)
    if as_json:
        print_json(results.to_json())
    else:
        for table in results.tables():
            print_table(*table)
        say(f"All results are in {out}/results.md, .tex, .csv and .json; plots are in {out}/images/.")
    if any(card["skipped"] for card in results.about["data"].values()):  # of all, there would be no results
        raise typer.Exit(SOME_SKIPPED)
