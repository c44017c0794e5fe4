"""``owseg train``: a network, and the knowledge base around it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owseg.cli._options import Batch, Crop, Data, Devices, Fpr, Json, Precision, Resume, Seed, names, parse_size
from owseg.cli._printing import save


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
    from owseg.data.datasets import open_source
    from owseg.knowledge.commit import check_place
    from owseg.training.build import build_knowledge_base
    from owseg.training.config import TrainConfig
    from owseg.training.loop import is_first_process

    config = TrainConfig(
        epochs=epochs, batch=batch, crop=parse_size(crop), seed=seed, precision=precision, devices=devices
    )
    check_place(out)
    run = Path(f"{out.resolve()}.run")
    kb = build_knowledge_base(
        data, backbone, names(unknown), config, run, decoder=decoder, classifier=classifier, scale=scale, fpr=fpr,
        background=background, resume=resume,
    )  # fmt: skip
    if not is_first_process():
        return
    hint = f"Next: owseg evaluate {out} --data {data}"
    if open_source(data, "train").name == open_source(data, "val").name:
        hint = f"Note: {data} has no val/, so the images that it was trained on also chose and calibrated it.\n{hint}"
    elif not kb.history[0].details["val"]["calibrated_apart"]:
        hint = f"Note: val is too small to be divided: it chose the weights and calibrated them as well.\n{hint}"
    save(kb, str(out), as_json, hint)
