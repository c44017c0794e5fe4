"""``owseg fit-baseline``: an image scorer that is trained on known images, such as an autoencoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._options import KB, Data, Json, Resume, Seed, parse_settings
from owseg.cli._printing import print_json, say
from owseg.cli._training import Overwrite, check_run


def fit_baseline(
    baseline: Annotated[str, typer.Argument(metavar="BASELINE", help="Which: {baselines}.")],
    kb: KB,
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to store it in.")],
    preset: Annotated[
        str, typer.Option(help="light, for a CPU, or paper: the sizes and the schedule of the paper.")
    ] = "light",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option: {baseline_options}.")
    ] = None,
    seed: Seed = 0,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train a baseline of the papers' tables on known images: an image scorer that is a network of its own.

    It learns on the split train, of the classes that the network of KB was trained for, and is validated on val, or on
    an eighth of train where there is none. KB stays as it is. A recipe of owseg benchmark names the file.
    """
    from owseg.knowledge.load import load
    from owseg.training.baselines import fit_baseline as fitted
    from owseg.training.baselines import open_known
    from owseg.training.processes import is_first_process

    given, base = parse_settings(settings), load(kb)
    known = open_known(data, base)
    check_run(Path(f"{out.resolve()}.run"), out, out.is_file(), overwrite, resume)
    path = fitted(baseline, base, *known, out, preset, given, seed, resume)
    if not is_first_process():
        return
    if as_json:
        print_json({"baseline": baseline, "file": path, "preset": preset, "options": given})
        return
    say(f"{path} holds {baseline}, trained on {data}.")
    say(f'In a recipe of owseg benchmark: scorers = ["{baseline}"] and options.{baseline}.weights = "{path}".')
