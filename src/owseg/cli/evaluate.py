"""``owseg evaluate``: a knowledge base on labelled images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._options import KB, Data, FullResolution, Json, MultiScale, Split, names
from owseg.cli._printing import complain, print_json, print_table
from owseg.errors import OwsegError

if TYPE_CHECKING:
    from owseg.evaluation.evaluate import Evaluation
    from owseg.evaluation.sequence import SequenceEvaluation


def evaluate(
    kb: KB,
    data: Data,
    split: Split = "test",
    scorers: Annotated[str, typer.Option(help="Which scores: names with commas, or all.")] = "",
    per_image: Annotated[
        bool,
        typer.Option("--per-image", help="Mean over images, FPR95 at the recall nearest to .95: DMLNet's protocol."),
    ] = False,
    full_resolution: FullResolution = False,
    multi_scale: MultiScale = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Measure every stage of learning, and what was forgotten.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="With --stream: tell it as a page, with images, in this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure it: IoU per class, and how well the unknown is found. Classes that KB does not know are the unknown."""
    from owseg.data.datasets import open_dataset
    from owseg.evaluation.evaluate import evaluate as measure
    from owseg.evaluation.sequence import evaluate_sequence
    from owseg.knowledge.load import load, load_stages
    from owseg.metrics.pixel import PerImage

    if report is not None and not stream:
        raise OwsegError("--report tells the story of a stream; add --stream.")
    if stream and (scorers or per_image or full_resolution or multi_scale):
        raise OwsegError("--stream measures each stage with its own score, pixels pooled; leave the other options out.")
    base = load(kb)
    frames = open_dataset(data, split, base.labels)
    if stream:
        stages = load_stages(kb)
        told = evaluate_sequence(stages, frames)
        result: Evaluation | SequenceEvaluation = told
    else:
        asked = tuple(base.scorers) if scorers == "all" else names(scorers) or (base.scorer,)
        forward = partial(base.forward, full_resolution=full_resolution, multi_scale=multi_scale)
        result = measure(base, frames, asked, PerImage if per_image else None, forward)
    if as_json:
        print_json(result.to_json())
    else:
        for table in result.tables():
            print_table(*table)
    if report is not None:
        from owseg.report.sequence import write_sequence_report

        complain(f"The story is in {write_sequence_report(stages, frames, told, report)}; open it in a browser.")
