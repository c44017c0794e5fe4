"""Training the autoencoder whose reconstruction error is an anomaly score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from owseg._registry import Card
from owseg.data.augment import augment
from owseg.data.dataset import DataSet
from owseg.image_scorers.autoencoder import Autoencoder, save, score
from owseg.knowledge.base import KnowledgeBase
from owseg.labels import UNKNOWN
from owseg.training.checkpoint import Checkpoint, identity_of
from owseg.training.config import LoopConfig
from owseg.training.input import Batches
from owseg.training.loop import Task, loop
from owseg.training.optimizers import made_optimizer
from owseg.training.processes import ALONE, Process, launched
from owseg.types import Sample

LIGHT = LoopConfig(
    epochs=20, batch=8, crop=(192, 256), scale=(0.5, 1.0), jitter=0.0, lr=2e-3, weight_decay=0.0, optimizer="adam"
)
"""How an autoencoder is trained unless something else is asked for: on views at half to full size."""


class ReconstructionObjective(nn.Module):
    """The mean squared error of what ``model`` reconstructs, over the pixels that count."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, known: Tensor) -> Tensor:
        """Return the loss of images (B, 3, H, W) in [0, 1] whose pixels ``known`` (B, H, W) bool count."""
        error = (self.model(images) - images).square().mean(1)
        loss: Tensor = error[known].sum() / known.sum().clamp(min=1)
        return loss


def train_autoencoder(
    data: DataSet,
    val: DataSet,
    config: LoopConfig = LIGHT,
    run: Path | str = "run",
    resume: bool = False,
    **architecture: int,
) -> Autoencoder:
    """Return an ``Autoencoder`` trained to reconstruct ``data``'s images, with the weights of least error on ``val``.

    The error counts known pixels only, where an image has a mask (open both against the known classes); the input is
    the whole view. The same seed gives the same weights. Raises ``OwsegError`` for fewer images than a batch, a loss
    that is not finite, and where no pixel of ``val`` is known.
    """
    fabric = launched(config)
    process = Process.of(fabric, config)
    torch.manual_seed(config.seed)
    model, result = Autoencoder(**architecture), Autoencoder(**architecture)

    def view(epoch: int, i: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        return _view(data[i], config, rng)

    task = Task(
        objective=ReconstructionObjective(model),
        optimizer=made_optimizer(model.parameters(), config),
        batches=Batches(len(data), view, config, process),
        kept=model,
        validate=lambda: -_mean_error(model, val, process),
        metric="negative error",
        title="training an autoencoder",
    )
    about = {"data": data.source.name, "frames": len(data), "model": model.config}
    best, _ = loop(fabric, task, config, Checkpoint(Path(run), identity_of(config, **about), resume))
    result.load_state_dict(best)
    return result.eval()


def _mean_error(model: Autoencoder, val: DataSet, process: Process = ALONE) -> float:
    """Return the mean error of all known pixels of ``val``; NaN where there is none."""

    def of_mine() -> list[tuple[float, int]]:
        found = []
        for sample in process.read(val.__getitem__, len(val)):
            error = score(model, sample.image)[_known(sample)]
            found.append((float(error.sum(dtype=np.float64)), error.size))
        return found

    return process.mean_of(of_mine)


def _known(sample: Sample) -> np.ndarray:
    """Return which pixels count, (H, W) bool: all of an image without a mask."""
    known = np.ones(sample.image.shape[1:], bool)
    return known if sample.target is None else np.asarray(sample.target < UNKNOWN)


def _view(sample: Sample, config: LoopConfig, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return a random view (3, h, w) and which of its pixels count, (h, w) bool."""
    target = np.where(_known(sample), 0, UNKNOWN).astype(np.uint8)
    image, ids = augment(Sample(sample.image, target, sample.id), config.crop, config.scale, config.jitter, rng)
    return image, ids < UNKNOWN


def _fit(
    kb: KnowledgeBase, data: DataSet, val: DataSet, out: Path, run: Path, resume: bool, seed: int,
    epochs: int = LIGHT.epochs, batch: int = LIGHT.batch, crop: tuple[int, int] = LIGHT.crop, lr: float = LIGHT.lr,
    width: int = 16, depth: int = 4, code: int = 16,
) -> Path:  # fmt: skip
    config = replace(LIGHT, epochs=epochs, batch=batch, crop=crop, lr=lr, seed=seed)
    return save(train_autoencoder(data, val, config, run, resume, width=width, depth=depth, code=code), out)


CARDS = (
    Card(
        "autoencoder",
        "an autoencoder of whole images",
        make=_fit,
        source="after Baur et al., 2018; row AE of DMLNet's Table 1",
        options={
            "epochs": "passes over the images",
            "batch": "images a step",
            "crop": "height and width of a training view in pixels",
            "lr": "learning rate",
            "width": "channels of the first stage",
            "depth": "number of times that the size is halved",
            "code": "channels of the code",
        },
        # Published without architecture or schedule: there is nothing to set.
        facts={"paper": {}},
    ),
)
