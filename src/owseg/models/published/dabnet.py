"""DABNet (Li et al., BMVC 2019): a segmenter of 0.75 million parameters, one map of stride 8 and no decoder.

Modules have the names of the published weights, so these can be loaded as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from owseg._registry import Card
from owseg.data.datasets.cityscapes import CITYSCAPES
from owseg.labels import LabelSpace
from owseg.models.backbones.base import Backbone
from owseg.models.decoders.base import Decoder
from owseg.models.network import Network
from owseg.models.published._layers import Halved, at_half_cells, conv_bn_act, passing
from owseg.models.published._weights import filled, place_of, read_weights

LAST = "layer15.weight"
"""The 1x1 convolution to the classes, which has no bias."""

STRIDE = 8
"""Of the last stage."""


class DABNetEncoder(nn.Module):
    """``image (B, 3, H, W) -> three maps`` of 35, 131 and 259 channels at strides 2, 4 and 8.

    Each ends in the image itself, pooled to its size, which the network reads again at every stage.
    """

    kind = "dabnet"
    options: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = _prelu(3, 32, 3, stride=2)
        self.layer2 = _prelu(32, 32, 3)
        self.layer3 = _prelu(32, 32, 3)
        self.layer4 = Halved(32 + 3, 64, _PReLU)
        self.layer5_7 = nn.Sequential(*(DABModule(64, 2) for _ in range(3)))
        self.layer8 = _prelu(2 * 64 + 3, 128, 3, stride=2)
        self.layer9_10 = nn.Sequential(*(DABModule(128, 4) for _ in range(2)))
        self.layer11_12 = nn.Sequential(*(DABModule(128, 8) for _ in range(2)))
        self.layer13_14 = nn.Sequential(*(DABModule(128, 16) for _ in range(2)))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the three stages, finest first."""
        half = F.avg_pool2d(image, 3, 2, 1)
        quarter = F.avg_pool2d(half, 3, 2, 1)
        eighth = F.avg_pool2d(quarter, 3, 2, 1)
        first = torch.cat([self.layer3(self.layer2(self.layer1(image))), half], 1)
        narrow = self.layer4(first)
        second = torch.cat([self.layer5_7(narrow), narrow, quarter], 1)
        narrow = self.layer8(second)
        deep = self.layer13_14(self.layer11_12(self.layer9_10(narrow)))
        return first, second, torch.cat([deep, narrow, eighth], 1)


class DABModule(nn.Module):
    """Depth-wise asymmetric bottleneck: half the channels, filtered at two dilations, added to what came in."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        narrow = channels // 2
        self.init_conv = _prelu(channels, narrow, 3)
        self.left_branch = nn.Sequential(*_asymmetric(narrow, 1))
        self.right_branch = nn.Sequential(*_asymmetric(narrow, dilation))
        self.last_conv = _prelu(narrow, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) -> the same size."""
        low = self.init_conv(x)
        widened: Tensor = self.last_conv(self.left_branch(low) + self.right_branch(low))
        return x + widened


class DABNetDecoder(Decoder):
    """Pyramid -> (B, out, 2 h, 2 w), h x w the last stage: a 1x1 convolution of it, at stride 4.

    The network was trained to be enlarged with ``align_corners`` (see ``at_half_cells``).
    """

    kind = "dabnet"

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.layer15 = nn.Conv2d(channels, out, 1, bias=False)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of ``make_decoder`` besides the pyramid; plain JSON."""
        return {"kind": self.kind}

    def penultimate(self, features: Sequence[Tensor]) -> Tensor:
        """Return the last stage."""
        return features[-1]

    def embed(self, penultimate: Tensor) -> Tensor:
        """Return the embedding (B, out, 2 h, 2 w)."""
        return at_half_cells(self.layer15(penultimate), STRIDE)


class _PReLU(nn.Module):
    """PReLU with one weight, by the name that it has in the published weights."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.activation(x)
        return activated


def _prelu(inside: int, out: int, kernel: int | tuple[int, int], **options: int) -> nn.Sequential:
    return conv_bn_act(inside, out, kernel, _PReLU, **options)


def _asymmetric(channels: int, dilation: int) -> list[nn.Sequential]:
    """Return a depth-wise 3x1 and a 1x3: together a 3x3 of two thirds of the weights."""
    return [_prelu(channels, channels, kernel, dilation=dilation, groups=channels) for kernel in ((3, 1), (1, 3))]


def dabnet(path: Path) -> Network:
    """Return the DABNet of published weights (Li et al., BMVC 2019) at ``path``, a safetensors file or its folder.

    Its embedding has one channel a class, and its classifier passes them on. Raises ``OwsegError`` for a file that is
    missing or holds other weights.
    """
    state = read_weights(path, "a DABNet", LAST)
    last = state.pop(LAST)
    decoder = filled(DABNetDecoder(last.shape[1], len(last)), {LAST: last}, path, "a DABNet")
    backbone = Backbone(filled(DABNetEncoder(), state, path, "a DABNet"))
    return Network(backbone, decoder, passing(len(last))).eval()


def _cityscapes(place: str, weights: str | Path | None = None) -> tuple[Network, LabelSpace]:
    return dabnet(place_of("dabnet-cityscapes", place, weights)), CITYSCAPES


CARDS = (
    Card(
        "dabnet-cityscapes",
        "DABNet trained on Cityscapes: model.safetensors, or the folder that has it",
        make=_cityscapes,
        source="Li et al., BMVC 2019",
        facts={"form": "dabnet-cityscapes:FILE"},
    ),
)
