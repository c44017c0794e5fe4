"""``owseg calibrate``: the threshold above which a pixel is unknown."""

from __future__ import annotations

from typing import Annotated

import typer

from owseg.cli._options import KB, Data, Fpr, Json, Out
from owseg.cli._printing import save


def calibrate(
    kb: KB,
    data: Data,
    split: Annotated[str, typer.Option(help="A split that was not trained on.")] = "val",
    fpr: Fpr = 0.05,
    method: Annotated[
        str,
        typer.Option(
            help="quantile (a share of all known pixels of these images), or conformal (a bound on the mean over images "
            "like these, if none of them was used to train or to choose the score)."
        ),
    ] = "quantile",
    scorer: Annotated[str | None, typer.Option(help="Change the score, too.")] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Find the threshold above which a pixel is unknown, from images whose known pixels are labelled."""
    from owseg.data.datasets import open_dataset
    from owseg.knowledge.calibration import calibrate as find
    from owseg.knowledge.load import load
    from owseg.knowledge.pretrained import writable

    target, base = writable(kb, out), load(kb)
    new = find(base, open_dataset(data, split, base.labels), fpr, method, scorer)
    save(new, target, as_json, f"Next: owseg predict --kb {target} PICTURES")
