"""An autoencoder trained on known images: the score is its reconstruction error."""

from __future__ import annotations

import json
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from owseg._files import write_whole
from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.models.network import to_tensor
from owseg.models.ops import conv_bn, resize
from owseg.types import ImageScorer


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
    # safetensors refuses tensors in another memory format, such as channels_last.
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    return write_whole(path, to_bytes(state, {"autoencoder": json.dumps(model.config)}))


def load(path: str | Path) -> Autoencoder:
    """Return the autoencoder that ``save`` wrote, in evaluation mode; raise ``OwsegError`` for any other file."""
    try:
        with safe_open(str(path), "pt") as file:
            model = Autoencoder(**json.loads((file.metadata() or {})["autoencoder"]))
            model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise OwsegError(f"{path} does not hold an autoencoder ({reason}); train one again.") from None
    return model.eval()


def _stored(weights: str) -> ImageScorer:
    if not weights:
        raise OwsegError("the image scorer autoencoder needs its weights; give the file that training stored.")
    return partial(score, load(weights))


CARDS = (
    Card(
        "autoencoder",
        "reconstruction error of an autoencoder trained on known images",
        make=lambda kb, seed=0, weights="": _stored(weights),
        source="after Baur et al., 2018; row AE of DMLNet's Table 1",
        options={"weights": "the file of a trained autoencoder"},
        facts={"required": ("weights",)},
    ),
)
