"""``owseg train-negative``: a class for what is unknown, beside a finished network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._options import (
    KB,
    Fpr,
    Json,
    Out,
    Resume,
    Slim,
)
from owseg.cli._outlier_training import Exclude, Inliers, OutlierFolder, Val, open_all, open_objects
from owseg.cli._training import (
    Batch,
    Crop,
    Devices,
    Epochs,
    Members,
    Overwrite,
    Precision,
    Seed,
    check_run,
    config_of,
    epochs_unless_given,
)
from owseg.training.config import NegativeConfig

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting; may be repeated. The defaults: {negative_settings}."),
]


def train_negative(
    kb: KB,
    inliers: Inliers,
    outliers: OutlierFolder,
    val: Val = None,
    exclude: Exclude = "",
    epochs: Epochs = None,
    batch: Batch = None,
    crop: Crop = None,
    members: Members = None,
    seed: Seed = None,
    precision: Precision = None,
    devices: Devices = None,
    settings: Settings = None,
    fpr: Fpr = 0.05,
    resume: Resume = False,
    overwrite: Overwrite = False,
    out: Out = None,
    slim: Slim = False,
    as_json: Json = False,
) -> None:
    """Train a class of what is unknown beside a finished network, from outliers pasted into images. Needs no labels.

    Only scores change: negative is its logit, and joint, where it is fitted, adds it. The labels that the network
    predicts stay the same to the bit. Undo with owseg rollback.
    """
    from owseg.training.negative import train_negative as trained
    from owseg.training.processes import is_first_process

    config = config_of(NegativeConfig(), settings, epochs, batch, crop, seed, precision, devices, members=members)
    given = open_all(kb, out, inliers, val)
    objects, _ = open_objects(outliers, None, exclude, given.base.labels)
    config = epochs_unless_given(config, len(given.train), epochs, settings)
    run = Path(f"{Path(given.target).resolve()}.negative.run")
    check_run(run, Path(given.target), False, overwrite, resume)
    new = trained(given.base, given.train, given.choose, objects, config, run, resume)
    if is_first_process():
        given.finish(new, fpr, slim, as_json)
