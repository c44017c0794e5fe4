"""An autoencoder trained on known images: the score is its reconstruction error."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from owseg._registry import Card
from owseg.image_scorers._stored import read_module, required, write_module
from owseg.models.network import to_tensor
from owseg.models.ops import conv_bn, resize


class Autoencoder(nn.Module):
    """Image (B, 3, H, W) in [0, 1] -> its reconstruction, of the same size and range.

    The encoder halves the size ``depth`` times, up to ``width`` times 2^(depth - 1) channels, then projects to ``code``
    channels; the decoder mirrors it. The code is too narrow to copy an image, so only what is frequent in the training
    images is reconstructed well. The baseline "AE" of DMLNet's Table 1 (after Baur et al., 2018).
    """

    def __init__(self, width: int = 16, depth: int = 4, code: int = 16) -> None:
        super().__init__()
        self.config = {"width": width, "depth": depth, "code": code}
        # The row was published without code or architecture, so any narrow bottleneck is as faithful.
        channels = [3, *(width * 2**i for i in range(depth))]
        down = [nn.Sequential(conv_bn(a, b, 3), nn.AvgPool2d(2)) for a, b in pairwise(channels)]
        self.encode = nn.Sequential(*down, nn.Conv2d(channels[-1], code, 1))
        self.widen = conv_bn(code, channels[-1])
        # The mirrored encoder, but never narrower than ``width``: its last layer would have 3 channels.
        up = [conv_bn(b, max(a, width), 3) for b, a in pairwise(channels[::-1])]
        self.decode = nn.ModuleList(up)
        self.draw = nn.Conv2d(width, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the reconstruction (B, 3, H, W) in [0, 1] of an image of any size."""
        step = 2 ** self.config["depth"]
        height, width = image.shape[-2:]
        # To a multiple of 2^depth, or halving and doubling would not return to the same size.
        padded = nn.functional.pad(image, (0, -width % step, 0, -height % step), mode="replicate")
        x: Tensor = self.widen(self.encode(padded))
        for block in self.decode:
            x = block(resize(x, (2 * x.shape[-2], 2 * x.shape[-1])))
        reconstruction: Tensor = self.draw(x).sigmoid()
        return reconstruction[..., :height, :width]


@torch.no_grad()
def score(model: Autoencoder, image: np.ndarray) -> np.ndarray:
    """Return the reconstruction error ``|x - model(x)|^2 / 3`` of each pixel, (H, W) float32 in [0, 1].

    ``image`` is (3, H, W) uint8, and x is that in [0, 1]. Raises ``OwsegError`` for any other array.
    """
    x = to_tensor(image).to(model.draw.weight.device)
    error: np.ndarray = (model(x) - x).square().mean(1)[0].cpu().numpy()
    return error


def save(model: Autoencoder, path: str | Path) -> Path:
    """Write weights and architecture into one safetensors file, whole or not at all, and return its path."""
    return write_module(model, "autoencoder", model.config, path)


def load(path: str | Path) -> Autoencoder:
    """Return the autoencoder that ``save`` wrote, in evaluation mode; raise ``OwsegError`` for any other file."""
    return read_module(path, "autoencoder", Autoencoder, "an autoencoder")


CARDS = (
    Card(
        "autoencoder",
        "reconstruction error of an autoencoder trained on known images",
        make=lambda kb, seed=0, weights="": partial(score, load(required(weights, "autoencoder"))),
        source="after Baur et al., 2018; row AE of DMLNet's Table 1",
        options={"weights": "the file that owseg fit-baseline autoencoder stored"},
        facts={"required": ("weights",)},
    ),
)
