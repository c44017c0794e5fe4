"""``owseg audit``: which training outliers resemble the anomalies of a test set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._compute import Compute
from owseg.cli._options import KB, Data, Json, Split
from owseg.cli._printing import print_json, print_table, say


def audit(
    kb: KB,
    outliers: Annotated[Path, typer.Argument(metavar="OUTLIERS", help="The --outliers folder of train-residual.")],
    data: Data,
    split: Split = "test",
    backbone: Annotated[
        str | None,
        typer.Option(help="A backbone in whose features to compare, named as for train; default: KB's own."),
    ] = None,
    as_json: Json = False,
    compute: Compute = Compute(),  # noqa: B008
) -> None:
    """Check training outliers for overlap with the anomalies of a test set: by category name, and by features.

    A result on anomalies means little if the same kinds of object were among the outliers that the network was trained
    with.
    """
    from owseg.data.datasets import open_dataset
    from owseg.data.outliers import open_outliers
    from owseg.evaluation.outlier_audit import audit as compare
    from owseg.evaluation.outlier_audit import backbone_engine, summary
    from owseg.models.backbones.base import from_pretrained

    base = compute.load(kb)
    engine = backbone_engine(base, from_pretrained(backbone) if backbone else None)
    # As train-residual does: outliers that show a known class are not trained with.
    used = open_outliers(outliers).unknown_to(base.labels)
    found = compare(used, open_dataset(data, split, base.labels), engine)
    if as_json:
        print_json(found.to_json())
        return
    header = ("category", "anomalies", "pixels", "similarity")
    print_table("Outlier categories most similar to the anomalies", header, summary(found))
    say(found.text())
