"""The options that every training has. None stands for the setting of the preset, or the default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._options import parse_settings, parse_size
from owseg.errors import OwsegError
from owseg.training.epochs import enough_epochs
from owseg.training.presets import Config, configured

Epochs = Annotated[
    int | None,
    typer.Option(
        help="Passes over the training images. Default: the preset's, and more of them where images are few, so that "
        "there are as many steps as of CamVid's 367."
    ),
]


Batch = Annotated[int | None, typer.Option(help="Images per step.")]


Crop = Annotated[str | None, typer.Option(help="Height x width of a training crop, in pixels.")]


Seed = Annotated[int | None, typer.Option(help="Seed of all random numbers.")]


Precision = Annotated[
    str | None, typer.Option(help="Precision of the computation: {precisions}. Weights keep 32 bits.")
]


Devices = Annotated[int | None, typer.Option(help="Number of GPUs or, without a GPU, of processes.")]


Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Train anew where there is a result or a run already: the checkpoint of that run is lost, a "
        "knowledge base gets a new version.",
    ),
]


Members = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Decoders on one backbone, each trained for itself, whose mean is used; more of them err less.",
    ),
]


def check_run(run: Path, result: Path, exists: bool, overwrite: bool, resume: bool) -> None:
    """Raise ``OwsegError`` where a training would replace another: ``result``, if it ``exists``, or a run's checkpoint.

    Either may be meant, with ``overwrite`` or ``resume``; both together are refused, and ``resume`` of no run.
    """
    if overwrite and resume:
        raise OwsegError("--resume goes on with a run, --overwrite begins anew; give one of them.")
    begun = any(run.rglob("last.ckpt"))
    if resume and not begun:
        raise OwsegError(f"{run.name} holds no checkpoint to go on from; leave --resume out.")
    if overwrite or resume:
        return
    if exists or begun:
        there = f"{result} is there already" if exists else f"{run} holds the checkpoint of a run already"
        raise OwsegError(
            f"{there}; give --overwrite to train anew, --resume to go on with the run, or another directory or file."
        )


def epochs_unless_given(config: Config, images: int, epochs: int | None, settings: list[str] | None) -> Config:
    """Return ``config`` with more epochs where images are few (``enough_epochs``), unless their number was given."""
    given = epochs is not None or "epochs" in parse_settings(settings)
    return config if given else enough_epochs(config, images)


def config_of(
    preset: Config,
    settings: list[str] | None,
    epochs: int | None,
    batch: int | None,
    crop: str | None,
    seed: int | None,
    precision: str | None,
    devices: int | None,
    **more: int | str | None,
) -> Config:
    """Return ``preset`` with what the command line gives: its options, ``more`` of them, and those of ``--set``.

    Raises ``OwsegError`` for a crop and settings that cannot be read, or with which nothing can be trained.
    """
    return configured(
        preset, parse_settings(settings), epochs=epochs, batch=batch, crop=None if crop is None else parse_size(crop),
        seed=seed, precision=precision, devices=devices, **more,
    )  # fmt: skip
