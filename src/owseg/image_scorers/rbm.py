"""A denoising autoencoder of small patches of one class, such as road: the score is how badly patches fit it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.image_scorers._stored import read_module, required, write_module
from owseg.models.network import to_tensor
from owseg.models.ops import resize, resize_image, size_of, working_size

CHANNELS = 3


class PatchAutoencoder(nn.Module):
    """Patches (..., 3 ``patch`` ``patch``), each minus its own mean, -> their reconstruction, of the same shape.

    ``y = sigmoid(x W^T + b) W + c`` with one W (``hidden``, 3 patch^2) both ways: the row "RBM" of DMLNet's Table 2,
    which is no Boltzmann machine (Creusot & Munawar, IV 2015, as run by Lis et al., ICCV 2019). Patches are ``stride``
    pixels apart; images are resized so that their shorter side has ``side`` pixels, 0: not. ``mean_error`` is the mean
    of ``error`` over patches of known images, with which ``score`` compares.
    """

    mean_error: Tensor

    def __init__(self, hidden: int = 20, patch: int = 8, stride: int = 6, side: int = 512) -> None:
        super().__init__()
        self.config = {"hidden": hidden, "patch": patch, "stride": stride, "side": side}
        self.patch, self.stride, self.side = patch, stride, side
        values = CHANNELS * patch**2
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(hidden, values)))
        self.hidden_bias, self.visible_bias = nn.Parameter(torch.zeros(hidden)), nn.Parameter(torch.zeros(values))
        self.register_buffer("mean_error", torch.ones(()))

    def forward(self, patches: Tensor) -> Tensor:
        """Return the reconstruction of patches (..., 3 patch^2)."""
        code = F.linear(patches, self.weight, self.hidden_bias).sigmoid()
        return F.linear(code, self.weight.T, self.visible_bias)

    def patches(self, image: Tensor) -> Tensor:
        """Return the patches (N, 3 patch^2) of an image (1, 3, H, W) in [0, 1], row by row, each minus its mean."""
        patches = F.unfold(image, self.patch, stride=self.stride)[0].T
        return patches - patches.mean(1, keepdim=True)

    def error(self, patches: Tensor) -> Tensor:
        """Return the mean absolute error of each patch, (N,)."""
        difference: Tensor = self(patches) - patches
        return difference.abs().mean(-1)

    def resized(self, image: np.ndarray) -> Tensor:
        """Return an image (3, H, W) uint8 at the size of the training, (1, 3, h, w) in [0, 1].

        Raises ``OwsegError`` where that is smaller than a patch, and for any other array.
        """
        x = to_tensor(image)
        size = working_size((image.shape[1], image.shape[2]), self.side or None)
        if min(size) < self.patch:
            raise OwsegError(f"an image of {size[0]}x{size[1]} pixels has no patch of {self.patch}x{self.patch}.")
        return resize_image(x, size)


@torch.no_grad()
def score(model: PatchAutoencoder, image: np.ndarray) -> np.ndarray:
    """Return ``1 - min(1, m / d)``, (H, W) float32 in [0, 1): d a patch's error, m the model's ``mean_error``.

    Where patches overlap, the mean of theirs; pixels of the right and lower edge that no patch reaches have 0. Half of
    what is known ties at 0. Lis et al.'s code takes the mean of the images in the same batch for m; here it is fixed,
    so that a score does not depend on other images. ``image`` is (3, H, W) uint8.
    """
    x = model.resized(image).to(model.weight.device)
    d = model.error(model.patches(x))
    of_patch = 1 - (model.mean_error / d.clamp(min=torch.finfo(d.dtype).tiny)).clamp(max=1)
    size, kernel = size_of(x), model.patch
    # fold adds up what overlaps: the sum of the scores over the number of patches at each pixel.
    spread = of_patch.expand(1, kernel**2, -1)
    total, count = (F.fold(v, size, kernel, stride=model.stride) for v in (spread, torch.ones_like(spread)))
    found = resize(total / count.clamp(min=1), (image.shape[1], image.shape[2]))[0, 0]
    result: np.ndarray = found.cpu().numpy()
    return result


def save(model: PatchAutoencoder, path: str | Path) -> Path:
    """Write weights and architecture into one safetensors file, whole or not at all, and return its path."""
    return write_module(model, "rbm", model.config, path)


def load(path: str | Path) -> PatchAutoencoder:
    """Return the model that ``save`` wrote, in evaluation mode; raise ``OwsegError`` for any other file."""
    return read_module(path, "rbm", PatchAutoencoder, "an autoencoder of patches")


CARDS = (
    Card(
        "rbm",
        "reconstruction error of an autoencoder of small patches of road",
        make=lambda kb, seed=0, weights="": partial(score, load(required(weights, "rbm"))),
        source="Creusot & Munawar, IV 2015, as in Lis et al., ICCV 2019; row RBM of DMLNet's Table 2",
        options={"weights": "the file that owseg fit-baseline rbm stored"},
        facts={"required": ("weights",)},
    ),
)
