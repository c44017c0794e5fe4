"""An autoencoder trained on known images: the score is its reconstruction error."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from owseg._files import write_whole
from owseg.errors import OwsegError
from owseg.models.network import to_tensor
from owseg.models.ops import conv_bn, resize


class Autoencoder(nn.Module):
    """Image (3, H, W) uint8 -> score (H, W) float32: ``|x - decode(encode(x))|^2 / 3`` per pixel, x in [0, 1].

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
        """Return the image (B, 3, H, W) in [0, 1] drawn again; any size."""
        step = 2 ** self.config["depth"]
        height, width = image.shape[-2:]
        padded = nn.functional.pad(image, (0, -width % step, 0, -height % step), mode="replicate")
        x = self.widen(self.encode(padded))
        for block in self.decode:
            x = block(resize(x, (2 * x.shape[-2], 2 * x.shape[-1])))
        return self.draw(x).sigmoid()[..., :height, :width]

    @torch.no_grad()
    def score(self, image: np.ndarray) -> np.ndarray:
        """Return the score of an image: a ``ImageScorer``."""
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
