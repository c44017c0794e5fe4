"""``owseg evaluate``: a knowledge base on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._cluster import ClusterCompute
from owseg.cli._compute import Compute
from owseg.cli._data import decoded_once
from owseg.cli._options import (
    Data,
    FullResolution,
    Json,
    KBOrExport,
    MultiScale,
    Size,
    Split,
    Tile,
    parse_names,
    parse_sides,
)
from owseg.cli._printing import SOME_SKIPPED, print_error, print_json, print_note, print_notes, print_table
from owseg.errors import OwsegError

if TYPE_CHECKING:
    from owseg.data.dataset import DataSet
    from owseg.evaluation.crosswise import Crosswise
    from owseg.evaluation.evaluate import Evaluation
    from owseg.evaluation.sequence import SequenceEvaluation
    from owseg.knowledge.base import KnowledgeBase


Scorers = Annotated[
    str,
    typer.Option(
        help="Scores to compare, with commas, or all: {scorers}. Options follow the name: {scorer_options}. "
        "NAME@segments is NAME pooled over segments of the image, NAME@road for what lies on the road. Default: the "
        "one in use."
    ),
]


ByImage = Annotated[
    bool,
    typer.Option(
        "--per-image",
        help="DMLNet's protocol: mean over images, FPR at the recall nearest to .95. Default: pixels pooled.",
    ),
]


Window = Annotated[
    int | None,
    typer.Option(
        min=64,
        help="Run images at their own size, or at --size, in windows of so many pixels, a third of that apart, each "
        "also mirrored: how RPL measures mIoU, with 1024.",
    ),
]


Sides = Annotated[
    str,
    typer.Option(
        metavar="N,N",
        help="Run each image at these shorter sides, and average the logits at its own size before they are scored: "
        "DMLNet's test, with 300,375,450,525,600. One side alone scores interpolated logits.",
    ),
]


Pair = Annotated[
    str,
    typer.Option(
        metavar="A,B",
        help="In place of --split: open-mIoU of two splits, each at the threshold of the other (StreetHazards: "
        "test-t5,test-t6).",
    ),
]


Sequence = Annotated[
    bool, typer.Option("--sequence", help="Evaluate after each class that was learned, and what was forgotten.")
]


Report = Annotated[
    Path | None, typer.Option(help="With --sequence: also write a page with images, into this HTML file.")
]


Parts = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o",
        help="Folder to keep what was counted of each few images, so that the same command goes on where it was "
        "stopped.",
    ),
]  # fmt: skip


def evaluate(
    kb: KBOrExport,
    data: Data,
    split: Split = "test",
    scorers: Scorers = "",
    per_image: ByImage = False,
    full_resolution: FullResolution = False,
    multi_scale: MultiScale = False,
    size: Size = None,
    tile: Tile = False,
    window: Window = None,
    sides: Sides = "",
    crosswise: Pair = "",
    sequence: Sequence = False,
    report: Report = None,
    as_json: Json = False,
    out: Parts = None,
    compute: ClusterCompute = ClusterCompute(),  # noqa: B008
) -> None:
    """Evaluate on labelled images: IoU per class, and AUROC, AP and FPR95 of the anomaly score.

    Classes of the data set that the knowledge base does not know count as unknown. Exit code 3 if some images or masks
    could not be read (with --out, errors.csv names them): the metrics are those of the others. 1 if none could.
    """
    from owseg.data.datasets import open_dataset
    from owseg.evaluation import diagnostics
    from owseg.evaluation.crosswise import evaluate_crosswise
    from owseg.evaluation.evaluate import evaluate as measure
    from owseg.evaluation.skipped import without
    from owseg.metrics.pixel import PerImage

    views = (full_resolution, multi_scale, size, tile, window)
    pair, names = parse_names(crosswise), parse_names(scorers)
    cluster, here = compute.shared()
    _check(sequence, report, names, per_image, views, sides, pair if crosswise else None, bool(out or cluster))
    stages = _stages(kb, here) if sequence else ()
    base = stages[-1] if stages else here.open(kb)
    opened = [open_dataset(data, part, base.labels) for part in pair or (split,)]
    first, *others = (decoded_once(one) for one in opened)
    if sequence:
        _evaluate_sequence(stages, first, report, as_json)
        return
    forward = base.engine(
        full_resolution=full_resolution, multi_scale=multi_scale, size=size, tile=tile, window=window,
        sides=parse_sides(sides),
    )  # fmt: skip
    if others:
        of_both = evaluate_crosswise(base, first, others[0], names[0] if names else None, forward)
        _print(of_both, [why for one in of_both.splits for why in one.skipped.values()], as_json)
        return
    # The one in use may have options, with which it is none of the names.
    wanted = tuple(dict.fromkeys((*base.scorers, base.scorer))) if scorers == "all" else names or (base.scorer,)
    # What is kept in memory here would have to be sent to the workers.
    counted = first if cluster is None else opened[0]
    result = measure(base, counted, wanted, PerImage if per_image else None, forward, out, cluster)
    rest = without(first, result.skipped)
    notes = diagnostics.of_evaluation(result, base.threshold) + diagnostics.of_measured(base, rest)
    if not any(views) and not sides:
        notes += diagnostics.of_sizes(base.working_size, diagnostics.sizes_of(rest))
    _print(result, [*result.skipped.values()], as_json, tuple(notes))


def _check(
    sequence: bool, report: Path | None, names: tuple[str, ...], per_image: bool, views: tuple[object, ...],
    sides: str, pair: tuple[str, ...] | None, in_parts: bool,
) -> None:  # fmt: skip
    """Raise ``OwsegError`` for options that exclude one another; ``views`` are those of how an image is run."""
    _, _, _, tile, window = views
    if report is not None and not sequence:
        raise OwsegError("--report shows a sequence of classes; add --sequence.")
    if sequence and (names or per_image or any(views) or sides or pair is not None):
        raise OwsegError("--sequence evaluates each stage with its own score, pixels pooled; omit the other options.")
    if in_parts and (sequence or pair is not None):
        raise OwsegError("--out and --ray are for one evaluation of one knowledge base; omit --sequence, --crosswise.")
    if tile and window:
        raise OwsegError("--tile and --window are two ways to divide an image; give one of them.")
    if sides and any(views):
        raise OwsegError("--sides says at which sizes an image is run and where it is scored; omit the other options.")
    if pair is not None and (len(pair) != 2 or pair[0] == pair[1] or per_image or len(names) > 1 or names == ("all",)):
        raise OwsegError("--crosswise takes two splits, such as test-t5,test-t6, and one score; omit --per-image.")


def _stages(kb: str, compute: Compute) -> tuple[KnowledgeBase, ...]:
    """Return every version that learned a class, not only the current one."""
    from owseg.knowledge.load import load_stages

    device = compute.checked()
    return tuple(compute.moved(stage, device) for stage in load_stages(kb))


def _evaluate_sequence(stages: tuple[KnowledgeBase, ...], frames: DataSet, report: Path | None, as_json: bool) -> None:
    from owseg.evaluation.sequence import evaluate_sequence
    from owseg.evaluation.skipped import without

    result = evaluate_sequence(stages, frames)
    skipped = result.stages[-1].skipped
    if report is not None:
        from owseg.report.sequence import write_sequence_report

        page = write_sequence_report(stages, without(frames, skipped), result, report)
        print_note(f"The report is in {page}; open it in a browser.")
    _print(result, [*skipped.values()], as_json)


def _print(
    result: Evaluation | SequenceEvaluation | Crosswise, skipped: list[str], as_json: bool, notes: tuple[str, ...] = ()
) -> None:
    """Print a result, the reasons of those images that are not in it, and raise the exit code where there are any."""
    if as_json:
        print_json({**result.to_json(), "notes": list(notes)})
    else:
        for table in result.tables():
            print_table(*table)
        print_notes(notes)
        for why in skipped:
            print_error(f"skipped: {why}")
    if skipped:  # of all images, there would be no result
        raise typer.Exit(SOME_SKIPPED)
