"""An autoencoder of known pictures: what it cannot draw again was not there when it learned."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from owseg.data.augment import augment
from owseg.data.source import DataSet
from owseg.errors import OwsegError
from owseg.files import write_whole
from owseg.labels import UNKNOWN
from owseg.models.decoders import conv_bn
from owseg.models.network import to_tensor
from owseg.progress import progress
from owseg.types import Sample, resize


class Autoencoder(nn.Module):
    """Picture (3, H, W) uint8 -> score (H, W) float32: ``|x - decode(encode(x))|^2 / 3`` per pixel, x in [0, 1].

    ``depth`` times half the size and up to ``width`` times 2^(depth - 1) channels, then through ``code`` channels, and
    back. The code is too narrow to copy; what it draws well is what it saw often. The baseline "AE" of DMLNet's Table 1
    (after Baur et al., 2018).
    """

    def __init__(self, width: int = 16, depth: int = 4, code: int = 16) -> None:
        super().__init__()
        self.config = {"width": width, "depth": depth, "code": code}
        wide = [3, *(width * 2**i for i in range(depth))]
        down = [nn.Sequential(conv_bn(a, b, 3), nn.AvgPool2d(2)) for a, b in pairwise(wide)]
        self.encode = nn.Sequential(*down, nn.Conv2d(wide[-1], code, 1))
        self.widen = conv_bn(code, wide[-1])
        up = [conv_bn(b, max(a, width), 3) for b, a in pairwise(wide[::-1])]
        self.decode = nn.ModuleList(up)
        self.draw = nn.Conv2d(width, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the picture (B, 3, H, W) in [0, 1] drawn again; any size."""
        step = 2 ** self.config["depth"]
        height, width = image.shape[-2:]
        padded = nn.functional.pad(image, (0, -width % step, 0, -height % step), mode="replicate")
        x = self.widen(self.encode(padded))
        for block in self.decode:
            x = block(resize(x, (2 * x.shape[-2], 2 * x.shape[-1])))
        return self.draw(x).sigmoid()[..., :height, :width]

    @torch.no_grad()
    def score(self, image: np.ndarray) -> np.ndarray:
        """Return the score of a picture: a ``PictureScorer``."""
        x = to_tensor(image).to(self.draw.weight.device)
        return (self(x) - x).square().mean(1)[0].cpu().numpy()

    def save(self, path: str | Path) -> Path:
        """Write weights and architecture into one safetensors file, whole or not at all."""
        state = {name: value.contiguous() for name, value in self.state_dict().items()}
        return write_whole(path, save(state, {"autoencoder": json.dumps(self.config)}))

    @classmethod
    def load(cls, path: str | Path) -> Autoencoder:
        """Read what ``save`` wrote; raise ``OwsegError`` for anything else."""
        try:
            with safe_open(str(path), "pt") as file:
                model = cls(**json.loads((file.metadata() or {})["autoencoder"]))
                model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
            reason = str(error).splitlines()[0]
            raise OwsegError(f"{path} does not hold an autoencoder ({reason}); train one again.") from None
        return model.eval()


def train_autoencoder(
    data: DataSet,
    epochs: int = 20,
    batch: int = 8,
    crop: tuple[int, int] = (192, 256),
    lr: float = 2e-3,
    seed: int = 0,
    **architecture: int,
) -> Autoencoder:
    """Return an ``Autoencoder`` trained to draw ``data``'s pictures again: mean squared error, Adam, one cycle.

    Only known pixels count where a frame has a mask (open ``data`` against the known classes); the pictures themselves
    are seen whole. Views are random crops and mirror images at half to full size. The same seed gives the same weights.
    Raises ``OwsegError`` for fewer pictures than a batch.
    """
    steps = len(data) // batch
    if not steps:
        raise OwsegError(f"{len(data)} pictures do not fill a batch of {batch}; give more, or lower the batch size.")
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
