"""``owseg audit``: which training outliers resemble the anomalies of a test set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._options import KB, Data, Json, Split
from owseg.cli._printing import print_json, print_table


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
    from owseg.data.datasets import open_dataset
    from owseg.data.outliers import open_outliers
    from owseg.evaluation.outlier_audit import audit as compare
    from owseg.evaluation.outlier_audit import summary
    from owseg.knowledge.load import load
    from owseg.models.backbones.base import from_pretrained

    base = load(kb)
    eyes = from_pretrained(backbone).eval() if backbone else base.network.backbone
    shown = open_outliers(outliers).unknown_to(base.labels)
    found = compare(shown, open_dataset(data, split, base.labels), eyes)
    if as_json:
        print_json(found.to_json())
        return
    print_table("What the anomalies look most like", ("category", "anomalies", "pixels", "similarity"), summary(found))
    print(found.text())
