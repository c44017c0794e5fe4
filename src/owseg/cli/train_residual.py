"""``owseg train-residual``: a residual with which a frozen network detects outliers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._options import KB, Fpr, Json, Out, Resume, Slim
from owseg.cli._outlier_training import Exclude, Inliers, OutlierFolder, Val, open_all, open_objects
from owseg.cli._training import (
    Batch,
    Crop,
    Devices,
    Epochs,
    Overwrite,
    Precision,
    Seed,
    check_run,
    config_of,
    epochs_unless_given,
)
from owseg.training.presets import RESIDUAL, preset_named

Context = Annotated[
    Path | None,
    typer.Option(
        help="The same objects in their own images (images/ and masks/, or COCO), for CoroCL; by default --outliers, "
        "unless these are cut-outs."
    ),
]


Preset = Annotated[
    str, typer.Option(help="Settings by name: {residual_presets}. Any option that is given wins over them.")
]


Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting; may be repeated. In light: {residual_settings}."),
]


def train_residual(
    kb: KB,
    inliers: Inliers,
    outliers: OutlierFolder,
    context: Context = None,
    val: Val = None,
    exclude: Exclude = "",
    preset: Preset = "light",
    epochs: Epochs = None,
    batch: Batch = None,
    crop: Crop = None,
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
    """Train a residual with which a frozen network detects outliers (RPL + CoroCL). Needs no labels.

    Only the score changes: the labels that the network predicts stay the same to the bit. Undo with owseg rollback.
    """
    from owseg.training.processes import is_first_process
    from owseg.training.residual import train_residual as with_residual

    chosen = preset_named(RESIDUAL, preset)
    config = config_of(chosen, settings, epochs, batch, crop, seed, precision, devices)
    given = open_all(kb, out, inliers, val)
    objects, around = open_objects(outliers, context, exclude, given.base.labels)
    config = epochs_unless_given(config, len(given.train), epochs, settings)
    run = Path(f"{Path(given.target).resolve()}.residual.run")
    check_run(run, Path(given.target), False, overwrite, resume)
    new = with_residual(given.base, given.train, given.choose, objects, around, config, run, resume)
    if is_first_process():
        given.finish(new, fpr, slim, as_json)
