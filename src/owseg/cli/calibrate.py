"""``owseg calibrate``: the threshold above which a pixel is unknown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._compute import Compute
from owseg.cli._data import decoded_once
from owseg.cli._options import KB, Data, Fpr, Json, Out, Slim, Task
from owseg.cli._printing import next_command, save_version
from owseg.cli._rebase import Rebase, on_newest

if TYPE_CHECKING:
    from owseg.data.dataset import DataSet
    from owseg.knowledge.base import KnowledgeBase


MarkedRegions = Annotated[
    Path | None,
    typer.Option(
        "--queue",
        help="A queue of owseg discover: regions that were marked there as known classes count as known pixels, too, "
        "besides those of --data. They were found for their high scores: thresholds rise, and the rates are of these "
        "images alone.",
    ),
]


def calibrate(
    kb: KB,
    data: Data,
    split: Annotated[
        str,
        typer.Option(help="The split to calibrate on; one that had no part in training or choosing weights."),
    ] = "val",
    fpr: Fpr = 0.05,
    method: Annotated[
        str,
        typer.Option(
            help="quantile: a share of all known pixels of these images. conformal: a bound on the mean share over "
            "images like these, if none was used to train or to choose the score; needs at least 1/fpr - 1 images."
        ),
    ] = "quantile",
    false_alarms: Annotated[
        float,
        typer.Option(
            help="How many false unknown regions may be found per image, on average over images like these; with "
            "conformal, the share of such images that may have one, approximately. It decides which regions count; "
            "pixels stay as they are."
        ),
    ] = 0.3,
    scorer: Annotated[
        str | None,
        typer.Option(
            help="Use another score from now on: {scorers}, NAME@segments, or NAME@road. Default: the one in use."
        ),
    ] = None,
    task: Task = "unknown",
    queue: MarkedRegions = None,
    rebase: Rebase = True,
    out: Out = None,
    slim: Slim = False,
    as_json: Json = False,
    compute: Compute = Compute(),  # noqa: B008
) -> None:
    """Choose the thresholds above which a pixel, and a region, is unknown, on images whose known pixels are labelled.

    What is asked for is a mean over images like these, and holds for no others: see owseg predict for new places. With
    --task obstacles the thresholds of that task are found, and stored beside the others; pixels on the road count.
    """
    from owseg.data.datasets import open_dataset
    from owseg.discovery.known_regions import known_regions
    from owseg.knowledge.calibration import calibrate as calibrated
    from owseg.knowledge.pretrained import writable

    # The target first: a shipped knowledge base without --out is refused before the work.
    target, base = writable(kb, out), compute.load(kb)
    asked = () if task == "unknown" else ("--task", task)
    hint = next_command("predict", "--kb", target, *asked, "IMAGES")

    def step(base: KnowledgeBase) -> None:
        labelled = decoded_once(open_dataset(data, split, base.labels))
        marked = None if queue is None else known_regions(queue, base.labels)
        new = calibrated(base, labelled, fpr, method, scorer, false_alarms, task, marked)
        save_version(new, target, as_json, hint, slim, lambda: _diagnosed(new, labelled, task))

    on_newest(step, kb, target, base, rebase, compute.load)


def _diagnosed(kb: KnowledgeBase, data: DataSet, task: str) -> list[str]:
    """Return what is wrong with a threshold that was found on ``data``, in sentences."""
    from owseg.evaluation import diagnostics

    found = diagnostics.of_calibration(kb, data, kb.threshold if task == "unknown" else kb.obstacles)
    return found + diagnostics.of_sizes(kb.network.size, diagnostics.sizes_of(data))
