"""``owseg evaluate``: a knowledge base on labelled images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._options import KB, Data, FullResolution, Json, MultiScale, Size, Split, Tile, parse_names
from owseg.cli._printing import print_json, print_note, print_table
from owseg.errors import OwsegError

if TYPE_CHECKING:
    from owseg.evaluation.evaluate import Evaluation
    from owseg.evaluation.sequence import SequenceEvaluation


Scorers = Annotated[
    str, typer.Option(help="Scores to compare, with commas, or all: {scorers}. Default: the one in use.")
]


def evaluate(
    kb: KB,
    data: Data,
    split: Split = "test",
    scorers: Scorers = "",
    per_image: Annotated[
        bool,
        typer.Option(
            "--per-image",
            help="DMLNet's protocol: mean over images, FPR at the recall nearest to .95. Default: pixels pooled.",
        ),
    ] = False,
    full_resolution: FullResolution = False,
    multi_scale: MultiScale = False,
    size: Size = None,
    tile: Tile = False,
    sequence: Annotated[
        bool, typer.Option("--sequence", help="Evaluate after each class that was learned, and what was forgotten.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="With --sequence: also write a page with images, into this HTML file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Evaluate on labelled images: IoU per class, and AUROC, AP and FPR95 of the anomaly score.

    Classes of the data set that the knowledge base does not know count as unknown.
    """
    from owseg.data.datasets import open_dataset
    from owseg.evaluation.evaluate import evaluate as measure
    from owseg.evaluation.sequence import evaluate_sequence
    from owseg.knowledge.load import load, load_stages
    from owseg.metrics.pixel import PerImage

    if report is not None and not sequence:
        raise OwsegError("--report shows a sequence of classes; add --sequence.")
    if sequence and (scorers or per_image or full_resolution or multi_scale or size or tile):
        raise OwsegError("--sequence evaluates each stage with its own score, pixels pooled; omit the other options.")
    base = load(kb)
    frames = open_dataset(data, split, base.labels)
    if sequence:
        # Every version that learned a class, not only the current one.
        stages = load_stages(kb)
        of_stages = evaluate_sequence(stages, frames)
        result: Evaluation | SequenceEvaluation = of_stages
    else:
        wanted = tuple(base.scorers) if scorers == "all" else parse_names(scorers) or (base.scorer,)
        forward = partial(base.forward, full_resolution=full_resolution, multi_scale=multi_scale, size=size, tile=tile)
        result = measure(base, frames, wanted, PerImage if per_image else None, forward)
    if as_json:
        print_json(result.to_json())
    else:
        for table in result.tables():
            print_table(*table)
    if report is not None:
        from owseg.report.sequence import write_sequence_report

        page = write_sequence_report(stages, frames, of_stages, report)
        print_note(f"The report is in {page}; open it in a browser.")
