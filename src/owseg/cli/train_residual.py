"""``owseg train-residual``: a residual with which a frozen network detects outliers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from owseg.cli._options import (
    KB,
    Batch,
    Crop,
    Devices,
    Fpr,
    Json,
    Out,
    Precision,
    Resume,
    Seed,
    Slim,
    data_spec,
    parse_names,
    parse_size,
    size_text,
)
from owseg.cli._printing import next_command, save_version
from owseg.training.config import ResidualConfig

CROP = size_text(ResidualConfig.crop)

if TYPE_CHECKING:
    from owseg.data.outliers import Outliers
    from owseg.labels import LabelSpace

Inliers = Annotated[
    str,
    typer.Option(
        callback=data_spec,
        help="Images of known classes only: a folder of images, or a data set (KIND:DIR). Labels are not needed.",
    ),
]


OutlierFolder = Annotated[
    Path,
    typer.Option(
        "--outliers", help="Folder of objects of unknown classes: RGBA cut-outs, images/ and masks/, or COCO."
    ),
]


Context = Annotated[
    Path | None,
    typer.Option(
        help="The same objects in their own images (images/ and masks/, or COCO), for CoroCL; by default --outliers, "
        "unless these are cut-outs."
    ),
]


Val = Annotated[
    str | None,
    typer.Option(callback=data_spec, help="Inliers to validate and calibrate on; by default an eighth of --inliers."),
]


Exclude = Annotated[
    str, typer.Option(help="Categories of outliers to leave out, besides the known classes: cow,sheep.")
]


Epochs = Annotated[int, typer.Option(help="Passes over the inliers.")]


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
    from owseg.data.unlabeled import hold_out, open_inliers
    from owseg.knowledge.calibration import calibrate, divide_val
    from owseg.knowledge.commit import check_place
    from owseg.knowledge.load import load
    from owseg.knowledge.pretrained import writable
    from owseg.knowledge.versions import has_version
    from owseg.training.processes import is_first_process
    from owseg.training.residual import train_residual as with_residual

    config = ResidualConfig(
        epochs=epochs, batch=batch, crop=parse_size(crop), seed=seed, precision=precision, devices=devices
    )
    target, base = writable(kb, out), load(kb)
    # Before the training, not after.
    check_place(target)
    objects, around = open_objects(outliers, context, exclude, base.labels)
    known = open_inliers(inliers, "train", base.labels)
    known, held_out = hold_out(known) if val is None else (known, open_inliers(val, "val", base.labels))
    choose, calibration = divide_val(held_out)
    run = Path(f"{Path(target).resolve()}.residual.run")
    new = with_residual(base, known, choose, objects, around, config, run, resume)
    if not is_first_process():
        return
    new = calibrate(new, calibration, fpr)
    if not has_version(target):
        base.save(target, slim)  # so that it can be undone there, too
    hint = next_command("predict", "--kb", target, "IMAGES")
    if choose is calibration:
        hint = f"Note: {len(choose)} images to validate on are too few to be divided: they also calibrated.\n{hint}"
    save_version(new, target, as_json, hint, slim)


def open_objects(
    folder: Path, context: Path | None, exclude: str, labels: LabelSpace
) -> tuple[Outliers, Outliers | None]:
    """Return the outliers to paste, and those in their own images for CoroCL; None where there are only cut-outs."""
    from owseg.data.outliers import leave_out, open_outliers

    objects = open_outliers(folder).unknown_to(labels)
    others = open_outliers(context).unknown_to(labels) if context else objects
    return leave_out(parse_names(exclude), objects, others if context or others.in_context else None)
