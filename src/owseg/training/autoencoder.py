"""Training the autoencoder whose reconstruction error is an anomaly score."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from owseg._progress import progress
from owseg.data.augment import augment
from owseg.data.dataset import DataSet
from owseg.errors import OwsegError
from owseg.image_scorers.autoencoder import Autoencoder
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
