"""``owseg fit``: further scorers, fitted on labelled images."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from owseg.cli._options import KB, Data, Json, Out, Slim, parse_names
from owseg.cli._printing import next_command, save_version


def fit(
    kb: KB,
    data: Data,
    scorers: Annotated[str, typer.Option(help="Which, with commas: {fitted}.")] = "knn,sml",
    split: Annotated[str, typer.Option(help="The split that the network was trained on.")] = "train",
    out: Out = None,
    slim: Slim = False,
    as_json: Json = False,
) -> None:
    """Fit further scorers on labelled images, such as knn (k nearest features) or sml (standardized max logits).

    joint, which includes mahalanobis, is part of what owseg train stores. Fit it for a network from elsewhere: that can
    then learn classes by the probe, too. Its scales are fitted on the split val, where there is one. The score in use
    does not change; use another with owseg calibrate --scorer NAME, or compare them with owseg evaluate.
    """
    from owseg.data.datasets import open_dataset
    from owseg.errors import NoSuchSplit
    from owseg.knowledge.calibration import fit_scorers
    from owseg.knowledge.load import load
    from owseg.knowledge.pretrained import writable

    target, base = writable(kb, out), load(kb)
    # train=True: classes that the knowledge base does not know are void in a fit.
    frames, wanted = open_dataset(data, split, base.labels, train=True), parse_names(scorers)
    held_out = None
    if "joint" in wanted:
        with suppress(NoSuchSplit):
            # joint alone reads held-out images: its scales should come from images that the network was not trained on.
            held_out = open_dataset(data, "val", base.labels, train=True)
    new = fit_scorers(base, frames, wanted, held_out)
    hint = next_command("evaluate", target, "--data", data, "--scorers", "all")
    save_version(new, target, as_json, hint, slim)
