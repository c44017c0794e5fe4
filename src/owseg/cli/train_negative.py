"""``owseg train-negative``: a class for what is unknown, beside a finished network."""

from __future__ import annotations

from pathlib import Path

from owseg.cli._options import (
    KB,
    Batch,
    Crop,
    Devices,
    Fpr,
    Json,
    Members,
    Out,
    Precision,
    Resume,
    Seed,
    Slim,
    parse_size,
)
from owseg.cli._outlier_training import CROP, Epochs, Exclude, Inliers, OutlierFolder, Val, open_all, open_objects
from owseg.training.config import NegativeConfig


def train_negative(
    kb: KB,
    inliers: Inliers,
    outliers: OutlierFolder,
    val: Val = None,
    exclude: Exclude = "",
    epochs: Epochs = NegativeConfig.epochs,
    batch: Batch = NegativeConfig.batch,
    crop: Crop = CROP,
    members: Members = NegativeConfig.members,
    seed: Seed = NegativeConfig.seed,
    precision: Precision = NegativeConfig.precision,
    devices: Devices = NegativeConfig.devices,
    fpr: Fpr = 0.05,
    resume: Resume = False,
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

    config = NegativeConfig(
        epochs=epochs, batch=batch, crop=parse_size(crop), members=members, seed=seed, precision=precision,
        devices=devices,
    )  # fmt: skip
    given = open_all(kb, out, inliers, val)
    objects, _ = open_objects(outliers, None, exclude, given.base.labels)
    run = Path(f"{Path(given.target).resolve()}.negative.run")
    new = trained(given.base, given.train, given.choose, objects, config, run, resume)
    if is_first_process():
        given.finish(new, fpr, slim, as_json)
