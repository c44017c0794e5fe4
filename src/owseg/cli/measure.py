"""Measuring: a knowledge base, many of them, and whether a figure may be trusted."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli.options import KB, Data, FullResolution, Json, MultiScale, names
from owseg.cli.printing import complain, print_json, print_table
from owseg.errors import OwsegError

if TYPE_CHECKING:
    from owseg.evaluation import Evaluation, Stream

Split = Annotated[str, typer.Option(help="Which split.")]


def evaluate(
    kb: KB,
    data: Data,
    split: Split = "test",
    scorers: Annotated[str, typer.Option(help="Which scores: names with commas, or all.")] = "",
    per_image: Annotated[
        bool,
        typer.Option("--per-image", help="Mean over pictures, FPR95 at the recall nearest to .95: DMLNet's protocol."),
    ] = False,
    full_resolution: FullResolution = False,
    multi_scale: MultiScale = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Measure every stage of learning, and what was forgotten.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="With --stream: tell it as a page, with pictures, in this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure it: IoU per class, and how well the unknown is found. Classes that KB does not know are the unknown."""
    from owseg.data import open_dataset
    from owseg.evaluation import evaluate as measure
    from owseg.evaluation import evaluate_stream
    from owseg.knowledge import load, load_stages
    from owseg.metrics.pixel import Exact, PerImage

    if report is not None and not stream:
        raise OwsegError("--report tells the story of a stream; add --stream.")
    if stream and (scorers or per_image or full_resolution or multi_scale):
        raise OwsegError("--stream measures each stage with its own score, pixels pooled; leave the other options out.")
    base = load(kb)
    frames = open_dataset(data, split, base.labels)
    if stream:
        stages = load_stages(kb)
        told = evaluate_stream(stages, frames)
        result: Evaluation | Stream = told
    else:
        asked = tuple(base.scorers()) if scorers == "all" else names(scorers) or (base.scorer,)
        look = partial(base.forward, full_resolution=full_resolution, multi_scale=multi_scale)
        result = measure(base, frames, asked, PerImage if per_image else Exact, look)
    if as_json:
        print_json(result.to_json())
    else:
        for table in result.tables():
            print_table(*table)
    if report is not None:
        from owseg.story import tell

        complain(f"The story is in {tell(stages, frames, told, report)}; open it in a browser.")


def benchmark(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="What to measure.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for maps, results and pictures; go on with it.")],
    workers: Annotated[int, typer.Option(help="Processes that take the metrics.")] = 1,
    as_json: Json = False,
) -> None:
    """Measure models x scorers x data sets: tables (Markdown, LaTeX, CSV, JSON) and pictures.

    A run that was stopped goes on where it was: give it the same folder. The least that a recipe says:

    \b
        models.mine.kb = "street8"
        data.camvid.spec = "camvid:$OWSEG_DATA/camvid"

    docs/benchmark.md has the rest.
    """
    from owseg.benchmark import read_recipe, run

    told = read_recipe(recipe)
    for line in told.left_out:
        complain(f"left out: {line}")
    results = run(told, out, workers, complain)
    if as_json:
        print_json(results.to_json())
        return
    for table in results.tables():
        print_table(*table)
    print(f"All figures are in {out}/results.md, .tex, .csv and .json; pictures are in {out}/pictures/.")


def audit(
    kb: KB,
    outliers: Annotated[Path, typer.Argument(help="The folder of outliers that train-residual was given.")],
    data: Data,
    split: Split = "test",
    backbone: Annotated[
        str | None,
        typer.Option(help="A transformers backbone to compare looks by: hub name or local path; by default KB's own."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask which outliers have something in common with what is unknown in a test set: by name, and by looks.

    A figure on anomalies means little if what they show was pasted into the streets that taught the network.
    """
    from owseg.audit import audit as compare
    from owseg.audit import summary
    from owseg.data import open_dataset
    from owseg.data.outliers import open_outliers
    from owseg.knowledge import load
    from owseg.models.backbones import from_pretrained

    base = load(kb)
    eyes = from_pretrained(backbone).eval() if backbone else base.network.backbone
    shown = open_outliers(outliers).unknown_to(base.labels)
    found = compare(shown, open_dataset(data, split, base.labels), eyes)
    if as_json:
        print_json(found.to_json())
        return
    print_table("What the anomalies look most like", ("category", "anomalies", "pixels", "similarity"), summary(found))
    print(found.words())
