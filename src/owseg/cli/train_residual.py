"""``owseg train-residual``: a residual with which a frozen network detects outliers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._options import KB, Batch, Crop, Devices, Fpr, Json, Out, Precision, Resume, Seed, Slim, parse_size
from owseg.cli._outlier_training import CROP, Epochs, Exclude, Inliers, OutlierFolder, Val, open_all, open_objects
from owseg.training.config import ResidualConfig

Context = Annotated[
    Path | None,
    typer.Option(
        help="The same objects in their own images (images/ and masks/, or COCO), for CoroCL; by default --outliers, "
        "unless these are cut-outs."
    ),
]


def train_residual(
    kb: KB,
    inliers: Inliers,
    outliers: OutlierFolder,
    context: Context = None,
    val: Val = None,
    exclude: Exclude = "",
    epochs: Epochs = ResidualConfig.epochs,
    batch: Batch = ResidualConfig.batch,
    crop: Crop = CROP,
    seed: Seed = ResidualConfig.seed,
    precision: Precision = ResidualConfig.precision,
    devices: Devices = ResidualConfig.devices,
    fpr: Fpr = 0.05,
    resume: Resume = False,
    out: Out = None,
    slim: Slim = False,
    as_json: Json = False,
) -> None:
    """Train a residual with which a frozen network detects outliers (RPL + CoroCL). Needs no labels.

    Only the score changes: the labels that the network predicts stay the same to the bit. Undo with owseg rollback.
    """
    from owseg.training.processes import is_first_process
    from owseg.training.residual import train_residual as with_residual

    config = ResidualConfig(
        epochs=epochs, batch=batch, crop=parse_size(crop), seed=seed, precision=precision, devices=devices
    )
    given = open_all(kb, out, inliers, val)
    objects, around = open_objects(outliers, context, exclude, given.base.labels)
    run = Path(f"{Path(given.target).resolve()}.residual.run")
    new = with_residual(given.base, given.train, given.choose, objects, around, config, run, resume)
    if is_first_process():
        given.finish(new, fpr, slim, as_json)
