"""What a knowledge base takes from labelled pictures without training: further scorers, and the threshold."""

from __future__ import annotations

from typing import Annotated

import typer

from owseg.cli.options import KB, Data, Fpr, Json, Out, names
from owseg.cli.printing import save


def fit(
    kb: KB,
    data: Data,
    scorers: Annotated[str, typer.Option(help="Which, with commas: joint (and mahalanobis), knn, sml.")] = "knn,sml",
    split: Annotated[str, typer.Option(help="The split that the network was trained on.")] = "train",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Fit further scorers on labelled pictures: joint (with mahalanobis), knn (k nearest features), sml (max logits).

    joint comes with what owseg train made. Fit it for a network from elsewhere:
    that can then learn classes by the probe, too. Its scales are taken from the
    split val, where there is one. The score in use stays; take another with
    owseg calibrate --scorer NAME, or compare them with owseg evaluate.
    """
    from owseg.calibration import with_baselines, with_fitted
    from owseg.data import NoSuchSplit, open_dataset
    from owseg.knowledge import load
    from owseg.shipped import writable

    target, base = writable(kb, out), load(kb)
    frames, others = open_dataset(data, split, base.labels, train=True), list(names(scorers))
    new = base
    if "joint" in others:
        others.remove("joint")
        try:
            held_out = open_dataset(data, "val", base.labels, train=True)
        except NoSuchSplit:
            held_out = None
        new = with_fitted(new, frames, held_out)
    if others:
        new = with_baselines(new, frames, others)
    save(new, target, as_json, f"Next: owseg evaluate {target} --data {data} --scorers all")


def calibrate(
    kb: KB,
    data: Data,
    split: Annotated[str, typer.Option(help="A split that was not trained on.")] = "val",
    fpr: Fpr = 0.05,
    method: Annotated[
        str, typer.Option(help="quantile (pooled pixels) or conformal (a bound that holds per image).")
    ] = "quantile",
    scorer: Annotated[str | None, typer.Option(help="Change the score, too.")] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Find the threshold above which a pixel is unknown, from pictures whose known pixels are labelled."""
    from owseg.calibration import with_threshold
    from owseg.data import open_dataset
    from owseg.knowledge import load
    from owseg.shipped import writable

    target, base = writable(kb, out), load(kb)
    new = with_threshold(base, open_dataset(data, split, base.labels), fpr, method, scorer)
    save(new, target, as_json, f"Next: owseg predict --kb {target} PICTURES")
