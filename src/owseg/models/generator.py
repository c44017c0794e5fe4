"""A generator: label map -> an image that it could be of. What the labels do not explain is not drawn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from owseg.errors import OwsegError
from owseg.models.ops import closed_map_at, resize, working_size


class Generator(nn.Module):
    """One-hot labels (B, ``classes``, h, w) -> an image (B, 3, h, w) in [0, 1]; h and w are multiples of 2^``depth``.

    An encoder-decoder: a 7x7 convolution to ``width`` channels, ``depth`` halvings that double them, ``blocks``
    residual blocks, and the way back; instance normalisation and ReLU. With 64, 4 and 9 it is the global generator of
    pix2pixHD (Wang et al., CVPR 2018), which Lis et al., ICCV 2019, use. It draws images whose shorter side has
    ``side`` pixels. Raises ``OwsegError`` for a side that is too short to be halved so often.
    """

    def __init__(self, classes: int, width: int = 16, depth: int = 3, blocks: int = 6, side: int = 128) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "classes": classes, "width": width, "depth": depth, "blocks": blocks, "side": side,
        }  # fmt: skip
        if side < 2 ** (depth + 1):
            raise OwsegError(
                f"a generator that halves {depth} times draws {2 ** (depth + 1)} pixels or more, not {side}."
            )
        widths = [width * 2**i for i in range(depth + 1)]
        layers: list[nn.Module] = [*_wide(classes, width), nn.InstanceNorm2d(width), nn.ReLU()]
        for i in range(depth):
            halving = nn.Conv2d(widths[i], widths[i + 1], 3, 2, 1)
            layers += [halving, nn.InstanceNorm2d(widths[i + 1]), nn.ReLU()]
        layers += [_Residual(widths[-1]) for _ in range(blocks)]
        for i in reversed(range(depth)):
            doubling = nn.ConvTranspose2d(widths[i + 1], widths[i], 3, 2, 1, output_padding=1)
            layers += [doubling, nn.InstanceNorm2d(widths[i]), nn.ReLU()]
        self.layers = nn.Sequential(*layers, *_wide(width, 3), nn.Tanh())

    def forward(self, planes: Tensor) -> Tensor:
        """Return the image (B, 3, h, w) in [0, 1]."""
        image: Tensor = self.layers(planes)
        return (image + 1) / 2

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size (h, w) at which an image of ``size`` is drawn."""
        return working_size(size, self.config["side"], 1.0, 2 ** self.config["depth"])

    def draw(self, labels: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the drawing (B, 3, H, W) in [0, 1] of labels (B, h, w), interpolated to ``size``."""
        return resize(self(label_planes(labels, self.config["classes"])), size)

    def redraw(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the drawing (B, 3, H, W) of the classes that logits (B, K, h, w) of an image of ``size`` predict."""
        return self.draw(closed_map_at(logits.float(), self.grid(size)), size)


def label_planes(labels: Tensor, classes: int) -> Tensor:
    """Return labels (B, h, w) one-hot, (B, ``classes``, h, w) float32; ids of no class, such as void, are all 0."""
    known = torch.arange(classes, device=labels.device).view(1, -1, 1, 1)
    return (labels[:, None] == known).float()


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect"), nn.InstanceNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect"), nn.InstanceNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)  # type: ignore[no-any-return]


def _wide(inside: int, out: int) -> list[nn.Module]:
    """Return a 7x7 convolution of an image continued by its mirror image."""
    return [nn.Conv2d(inside, out, 7, padding=3, padding_mode="reflect")]
