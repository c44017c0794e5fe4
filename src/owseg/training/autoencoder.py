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
    """Return an ``Autoencoder`` trained to draw ``data``'s images again: mean squared error, Adam, one cycle.

    Only known pixels count where a frame has a mask (open ``data`` against the known classes); the images themselves
    are seen whole. Views are random crops and mirror images at half to full size. The same seed gives the same weights.
    Raises ``OwsegError`` for fewer images than a batch.
    """
    steps = len(data) // batch
    if not steps:
        raise OwsegError(f"{len(data)} images do not fill a batch of {batch}; give more, or lower the batch size.")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Autoencoder(**architecture)
    optimizer = torch.optim.Adam(model.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps * epochs)
    with progress("training an autoencoder", steps * epochs) as tick:
        for epoch in range(epochs):
            order = np.random.default_rng([seed, epoch]).permutation(len(data))
            for mine in order[: steps * batch].reshape(steps, batch):
                views = [_view(data[int(i)], crop, np.random.default_rng([seed, epoch, int(i)])) for i in mine]
                images, known = (torch.stack(part) for part in zip(*views, strict=True))
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


def _view(sample: Sample, crop: tuple[int, int], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return a random view (3, h, w) and where it counts, (h, w) bool."""
    target = np.zeros(sample.image.shape[1:], np.uint8) if sample.target is None else sample.target
    image, ids = augment(Sample(sample.image, target, sample.id), crop, (0.5, 1.0), 0.0, rng)
    return image, ids < UNKNOWN
