"""What ``tests/training/test_processes.py`` runs in two processes: ``python -m tests.support.two_processes``.

Fabric starts it once more, at the first training. Each process writes what it found into rankR.json; at the end both
are the command line, whose training fails in the second.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from owseg import cli
from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.models.engine import Engine
from owseg.models.network import Network
from owseg.scorers.max_logit import max_logit
from owseg.training import build, segmentation
from owseg.training.checkpoint import Checkpoint, RunLog
from owseg.training.config import TrainConfig
from owseg.training.pasting import pasted_ap
from owseg.training.processes import Process, is_first_process
from owseg.training.residual import train_residual
from owseg.training.segmentation import SegmentationObjective, train, validation_miou
from tests.support import tiny
from tests.support.outliers import FAST, inlier_images, objects

ONE = TrainConfig(
    mode="tuned", epochs=4, batch=4, crop=(48, 64), scale=(1.0, 1.0), small=0.0, balance=0.0, label_stride=1,
    validate_every=1, ema=0.5, optimizer="sgd", schedule="poly", lr=5e-4, backbone_lr=5e-4, freeze_stem=False,
)  # fmt: skip
"""A training in which each image weighs as much as another: all pixels are labelled and have one weight."""

TWO = replace(ONE, batch=1, accumulate_grad_batches=2, devices=2)
"""The same steps in two processes, of two batches each."""

SHORT = TrainConfig(epochs=2, batch=2, crop=(48, 64), validate_every=1, devices=2)


class Stop(Exception):
    pass


def without_batch_statistics() -> Network:
    """A tiny network with group normalisation, whose output for an image depends on no other image."""
    network = tiny.network(3, "resnet")
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.GroupNorm(1, child.num_features))
            elif isinstance(child, nn.Dropout | nn.Dropout2d):
                setattr(parent, name, nn.Identity())
    return network


def with_outliers(rank: int) -> list[Any]:
    """Train a residual where the second process sees no outlier: only the eighths, which validation pastes."""
    shown = objects()
    if rank == 1:
        read = shown.read
        shown = replace(shown, read=lambda i: replace(read(i), mask=read(i).mask & (i % 8 == 7)))
    config = replace(FAST, devices=2, batch=2, epochs=2)
    kb = tiny.knowledge_base(classifier="linear")
    kb = train_residual(kb, inlier_images(), inlier_images(4), shown, None, config, "residual")
    if is_first_process():
        kb.save("kb")
    return [kb.fingerprint(), kb.history[-1].details["val_ap"]]


def exact() -> dict[str, Any]:
    """Return the losses of two processes and the weights after them."""
    rows: list[Any] = []
    write = RunLog.write
    RunLog.write = lambda self, epoch, row: rows.append(row) or write(self, epoch, row)  # type: ignore[method-assign]
    network = train(without_batch_statistics(), tiny.dataset(), tiny.dataset(3), TWO, Path("exact"))
    RunLog.write = write  # type: ignore[method-assign]
    return {"rows": rows, "exact": {name: p.sum().item() for name, p in network.named_parameters()}}


def ap_of(process: Process) -> float:
    """Return the AP of the largest logit for outliers that are pasted into five images."""
    return pasted_ap(Engine(tiny.network(3, "resnet")), max_logit, inlier_images(5), objects(), FAST, process)


def merged(rank: int) -> dict[str, Any]:
    process = Process(rank, 2)
    nan = process.mean(torch.tensor(float("nan") if rank else 1.0))
    return {
        "miou": validation_miou(tiny.network(3, "resnet"), tiny.dataset(5), process),
        "ap": ap_of(process),
        "in_order": process.in_order(lambda: [10 * i for i in process.numbers(7)]),
        "mean_of": process.mean_of(lambda: [(float(i), i + 1) for i in process.numbers(5)]),
        "mean": process.mean(torch.tensor(1.0 + rank)),
        "nan": nan,
    }


def resumed() -> dict[str, Any]:
    """Train to the end, stop after an epoch, and go on; note the batch statistics that are validated."""
    validated, validate = [], segmentation.validation_miou

    def noted(network: Network, *rest: Any) -> float:
        validated.append(sum(b.double().sum().item() for b in network.buffers()))
        return validate(network, *rest)

    def trained(run: str, resume: bool = False) -> dict[str, torch.Tensor]:
        network = tiny.network(3, "resnet")
        return train(network, tiny.dataset(), tiny.dataset(3), SHORT, Path(run), resume).state_dict()

    segmentation.validation_miou = noted  # type: ignore[assignment]
    whole, save = trained("whole"), Checkpoint.save
    segmentation.validation_miou = validate

    def stop(self: Checkpoint, state: Any) -> None:
        save(self, state)
        raise Stop

    Checkpoint.save = stop  # type: ignore[method-assign]
    stopped = said(lambda: trained("parts"), repr)
    Checkpoint.save = save  # type: ignore[method-assign]
    again = trained("parts", resume=True)
    same = all(torch.equal(v, again[n]) for n, v in whole.items())
    return {"stopped": stopped, "resumed_like_whole": same, "validated": validated}


def unread(rank: int) -> dict[str, Any]:
    """Train where the second process cannot read an image, of those to train on and those to validate on."""

    def broken(number: int) -> DataSet:
        data = tiny.dataset()

        def read(i: int) -> tuple[np.ndarray, np.ndarray | None]:
            if rank == 1 and i == number:
                raise OwsegError(f"f{i} is broken; replace it.")
            return data.source.read(i)

        return replace(data, source=replace(data.source, read=read))

    config, network = replace(SHORT, balance=0.0), tiny.network(3, "resnet")
    return {
        "unread": said(lambda: train(network, broken(3), tiny.dataset(2), config, Path("unread"))),
        "unread_val": said(lambda: train(network, tiny.dataset(), broken(1), config, Path("unread_val"))),
    }


def said(work: Callable[[], object], how: Callable[[object], str] = str) -> str:
    try:
        work()
    except Exception as error:
        return how(error)
    return ""


def command_line(rank: int) -> None:
    """``owseg train`` with a loss that is not finite in the second process."""
    if rank == 0:
        for i, sample in enumerate(tiny.dataset()):
            for kind, array in (("images", sample.image.transpose(1, 2, 0)), ("masks", sample.target)):
                Path("own", kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(Path("own", kind, f"f{i}.png"))
        Path("own", "classes.json").write_text(json.dumps(list(tiny.dataset().labels.names)))
    torch.distributed.barrier()
    build.from_pretrained = lambda name: tiny.backbone()  # type: ignore[attr-defined,assignment]
    if rank == 1:
        forward = SegmentationObjective.forward
        SegmentationObjective.forward = lambda *given: float("nan") * forward(*given)  # type: ignore[method-assign]
    options = "--epochs 1 --batch 2 --crop 32x32 --devices 2 --members 1"
    sys.argv = ["owseg", "train", "new", "--data", "own", *options.split()]
    cli.main()


def main() -> None:
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    found = {"residual": with_outliers(rank), **exact(), **merged(rank), **resumed(), **unread(rank)}
    Path(f"rank{rank}.json").write_text(json.dumps({"is_first": is_first_process(), **found}))
    command_line(rank)


if __name__ == "__main__":
    main()
