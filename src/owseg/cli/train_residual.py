"""``owseg train-residual``: a residual that teaches a frozen network to see outliers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._options import KB, Batch, Crop, Devices, Fpr, Json, Out, Precision, Resume, Seed, names, parse_size
from owseg.cli._printing import save


def train_residual(
    kb: KB,
    inliers: Annotated[
        str, typer.Option(help="Streets as the network knows them: a folder of images, or a data set (KIND:DIR).")
    ],
    outliers: Annotated[
        Path,
        typer.Option(help="Folder of things that are none of the classes: RGBA cut-outs, images/ + masks/, or COCO."),
    ],
    context: Annotated[
        Path | None,
        typer.Option(
            help="The same as they were photographed (images/ + masks/, or COCO), for CoroCL; by default --outliers, "
            "unless they are cut-outs."
        ),
    ] = None,
    val: Annotated[
        str | None, typer.Option(help="Streets to validate and calibrate on; by default an eighth of --inliers.")
    ] = None,
    exclude: Annotated[str, typer.Option(help="Categories to leave out besides the known classes: cow,sheep.")] = "",
    epochs: Annotated[int, typer.Option(help="Passes over the streets.")] = 20,
    batch: Batch = 8,
    crop: Crop = "384x512",
    seed: Seed = 0,
    precision: Precision = "32-true",
    devices: Devices = 1,
    fpr: Fpr = 0.05,
    resume: Resume = False,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Teach a frozen network to see outliers (RPL + CoroCL). Needs no labels; its classes stay as they are.

    What it labels does not change by a bit; only the score does. Undo with owseg rollback.
    """
    from owseg.data.outliers import leave_out, open_outliers
    from owseg.data.unlabeled import hold_out, open_inliers
    from owseg.knowledge.calibration import calibrate, divide_val
    from owseg.knowledge.commit import check_place
    from owseg.knowledge.load import load
    from owseg.knowledge.pretrained import writable
    from owseg.knowledge.versions import has_version
    from owseg.training.config import ResidualConfig
    from owseg.training.loop import is_first_process
    from owseg.training.residual import train_residual as learn_residual

    config = ResidualConfig(
        epochs=epochs, batch=batch, crop=parse_size(crop), seed=seed, precision=precision, devices=devices
    )
    target, base = writable(kb, out), load(kb)
    check_place(target)
    objects = open_outliers(outliers).unknown_to(base.labels)
    others = open_outliers(context).unknown_to(base.labels) if context else objects
    objects, around = leave_out(names(exclude), objects, others if context or others.in_context else None)
    known = open_inliers(inliers, "train", base.labels)
    known, held_out = hold_out(known) if val is None else (known, open_inliers(val, "val", base.labels))
    run = Path(f"{Path(target).resolve()}.residual.run")
    choose, calibration = divide_val(held_out)
    new = learn_residual(base, known, choose, objects, around, config, run, resume)
    if not is_first_process():
        return
    new = calibrate(new, calibration, fpr)
    if not has_version(target):
        base.save(target)  # so that it can be undone there, too
    hint = f"Next: owseg predict --kb {target} IMAGES"
    if choose is calibration:
        hint = f"Note: {len(choose)} held-out images are too few to divide: they chose and calibrated.\n{hint}"
    save(new, target, as_json, hint)
