"""``owseg fit``: further scorers, fitted on labelled images."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from owseg.cli._options import KB, Data, Json, Out, names
from owseg.cli._printing import save


def fit(
    kb: KB,
    data: Data,
    scorers: Annotated[str, typer.Option(help="Which, with commas: joint (and mahalanobis), knn, sml.")] = "knn,sml",
    split: Annotated[str, typer.Option(help="The split that the network was trained on.")] = "train",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Fit further scorers on labelled images: joint (with mahalanobis), knn (k nearest features), sml (max logits).

    joint comes with what owseg train made. Fit it for a network from elsewhere:
    that can then learn classes by the probe, too. Its scales are taken from the
    split val, where there is one. The score in use stays; take another with
    owseg calibrate --scorer NAME, or compare them with owseg evaluate.
    """
    from owseg.data.datasets import open_dataset
    from owseg.errors import NoSuchSplit
    from owseg.knowledge.calibration import fit_scorers
    from owseg.knowledge.load import load
    from owseg.knowledge.pretrained import writable

    target, base = writable(kb, out), load(kb)
    frames, wanted = open_dataset(data, split, base.labels, train=True), names(scorers)
    held_out = None
    if "joint" in wanted:
        with suppress(NoSuchSplit):
            held_out = open_dataset(data, "val", base.labels, train=True)
    new = fit_scorers(base, frames, wanted, held_out)
    save(new, target, as_json, f"Next: owseg evaluate {target} --data {data} --scorers all")
