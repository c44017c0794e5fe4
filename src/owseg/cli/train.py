"""Training: a network, and a residual that sees outliers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli.options import KB, Data, Fpr, Json, Out, names
from owseg.cli.printing import save
from owseg.errors import OwsegError

Batch = Annotated[int, typer.Option(help="Pictures a step.")]
Crop = Annotated[str, typer.Option(help="Height x width of a training view.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Precision = Annotated[str, typer.Option(help="32-true, or bf16-mixed where the machine has bfloat16.")]
Devices = Annotated[int, typer.Option(help="GPUs or processes.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")]


def train(
    out: Annotated[Path, typer.Argument(metavar="KB", help="Directory for the new knowledge base.")],
    data: Data,
    backbone: Annotated[str, typer.Option(help="A transformers backbone: hub name or local path.")],
    unknown: Annotated[str, typer.Option(help="Classes to leave out, by name: car,pedestrian.")] = "",
    decoder: Annotated[str, typer.Option(help="aspp or psp.")] = "aspp",
    classifier: Annotated[str, typer.Option(help="prototype (DMLNet) or linear.")] = "prototype",
    scale: Annotated[float, typer.Option(help="T, how far prototypes are from the origin (3 in DMLNet).")] = 3.0,
    epochs: Annotated[int, typer.Option(help="Passes over the training frames.")] = 60,
    batch: Batch = 8,
    crop: Crop = "256x352",
    seed: Seed = 0,
    precision: Precision = "32-true",
    devices: Devices = 1,
    fpr: Fpr = 0.05,
    background: Annotated[
        bool, typer.Option("--background", help="A baseline: train void as a class; its probability is the score.")
    ] = False,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Train a network on a data set's train split, choose on val, calibrate on val, store a knowledge base.

    Logs (CSV, TensorBoard) and the checkpoint for --resume are kept in KB.run beside it.
    """
    from owseg import store
    from owseg.build import build_knowledge_base
    from owseg.data import open_source
    from owseg.train import TrainConfig

    config = TrainConfig(epochs=epochs, batch=batch, crop=_size(crop), seed=seed, precision=precision, devices=devices)
    store.check_place(out)
    run = Path(f"{out.resolve()}.run")
    kb = build_knowledge_base(
        data, backbone, names(unknown), config, run, decoder, classifier, fpr, False, resume, scale, background
    )
    hint = f"Next: owseg evaluate {out} --data {data}"
    if open_source(data, "train").name == open_source(data, "val").name:
        hint = f"Note: {data} has no val/, so the pictures that it was trained on also chose and calibrated it.\n{hint}"
    save(kb, str(out), as_json, hint)


def train_residual(
    kb: KB,
    inliers: Annotated[
        str, typer.Option(help="Streets as the network knows them: a folder of pictures, or a data set (KIND:DIR).")
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
    from owseg import store
    from owseg.calibration import with_threshold
    from owseg.data.outliers import leave_out, open_outliers
    from owseg.data.pictures import divided, streets
    from owseg.knowledge import load
    from owseg.shipped import writable
    from owseg.train_residual import ResidualConfig
    from owseg.train_residual import train_residual as learn_residual

    config = ResidualConfig(
        epochs=epochs, batch=batch, crop=_size(crop), seed=seed, precision=precision, devices=devices
    )
    target, base = writable(kb, out), load(kb)
    store.check_place(target)
    objects = open_outliers(outliers).unknown_to(base.labels)
    others = open_outliers(context).unknown_to(base.labels) if context else objects
    objects, around = leave_out(names(exclude), objects, others if context or others.in_context else None)
    known = streets(inliers, "train", base.labels)
    known, held_out = divided(known) if val is None else (known, streets(val, "val", base.labels))
    run = Path(f"{Path(target).resolve()}.residual.run")
    new = learn_residual(base, known, held_out, objects, around, config, run, resume)
    new = with_threshold(new, held_out, fpr)
    if not store.holds(target):
        base.save(target)  # so that it can be undone there, too
    save(new, target, as_json, f"Next: owseg predict --kb {target} PICTURES")


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(v) for v in text.lower().split("x"))
    except ValueError:
        raise OwsegError(f"{text!r} is no size; write height x width, such as 256x352.") from None
    return height, width
