"""Training the autoencoder whose reconstruction error is an anomaly score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from owseg._progress import progress
from owseg._registry import Card
from owseg.data.augment import augment
from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.image_scorers.autoencoder import Autoencoder, save
from owseg.knowledge.base import KnowledgeBase
from owseg.labels import UNKNOWN
from owseg.training.config import LoopConfig
from owseg.training.input import Batches
from owseg.types import Sample


def train_autoencoder(
    data: DataSet,
    epochs: int = 20,
    batch: int = 8,
    crop: tuple[int, int] = (192, 256),
    lr: float = 2e-3,
    seed: int = 0,
    **architecture: int,
) -> Autoencoder:
    """Return an ``Autoencoder`` trained to reconstruct ``data``'s images: mean squared error, Adam, one cycle.

    Views are random crops and mirror images at half to full size. The loss counts known pixels only, where an image has
    a mask (open ``data`` against the known classes); the input is the whole view. The same seed gives the same weights.
    Raises ``OwsegError`` for fewer images than a batch.
    """
    config = LoopConfig(epochs, batch, crop, scale=(0.5, 1.0), jitter=0.0, lr=lr, seed=seed)
    batches = Batches(len(data), lambda epoch, i, rng: _view(data[i], config, rng), config)
    steps = batches.steps * epochs
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Autoencoder(**architecture)
    optimizer = torch.optim.Adam(model.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    with progress("training an autoencoder", steps) as tick:
        for epoch in range(epochs):
            for views, known in batches.of(epoch):
                images = views.contiguous()  # laid out like the weights
                error = (model(images) - images).square().mean(1)
                loss = error[known].sum() / known.sum().clamp(min=1)
                if not torch.isfinite(loss):
                    raise OwsegError(f"the loss is {loss.item()} in epoch {epoch + 1}; lower the learning rate.")
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                tick(f"epoch {epoch + 1}/{epochs}  loss {loss.item():.4f}")
    return model.eval()


def _view(sample: Sample, config: LoopConfig, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return a random view (3, h, w) and which of its pixels count, (h, w) bool."""
    target = np.zeros(sample.image.shape[1:], np.uint8) if sample.target is None else sample.target
    image, ids = augment(Sample(sample.image, target, sample.id), config.crop, config.scale, config.jitter, rng)
    return image, ids < UNKNOWN


def _fit(
    kb: KnowledgeBase, data: DataSet, val: DataSet, out: Path, run: Path, resume: bool, seed: int,
    epochs: int = 20, batch: int = 8, crop: tuple[int, int] = (192, 256), lr: float = 2e-3,
    width: int = 16, depth: int = 4, code: int = 16,
) -> Path:  # fmt: skip
    if resume:
        raise OwsegError("the training of an autoencoder cannot be resumed; leave out --resume.")
    return save(train_autoencoder(data, epochs, batch, crop, lr, seed, width=width, depth=depth, code=code), out)


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
