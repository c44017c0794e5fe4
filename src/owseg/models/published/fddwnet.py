"""FDDWNet (Liu et al., ICASSP 2020): a segmenter of 0.77 million parameters that ends at the image's own size.

Modules have the names of the published weights, so these can be loaded as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from owseg._registry import Card
from owseg.data.datasets.cityscapes import CITYSCAPES
from owseg.labels import LabelSpace
from owseg.models.backbones.base import Backbone
from owseg.models.decoders.base import Decoder
from owseg.models.network import Network
from owseg.models.published._layers import Halved, conv_bn_act, passing
from owseg.models.published._weights import filled, place_of, read_weights

DILATIONS = ((1, 2, 5, 9, 1, 2, 5, 9), (2, 5, 9, 17, 2, 5, 9, 17))
"""Of the units at stride 8: growing without a common factor, so that together they leave out no pixel."""

LAST = "layer31.up_conv.0.bias"
"""One for each class."""


class FDDWNetEncoder(nn.Module):
    """``image (B, 3, H, W) -> four maps`` of 16, 64, 128 and 128 channels at strides 2, 4, 8 and 8."""

    kind = "fddwnet"
    options: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = Halved(3, 16, nn.ReLU)
        self.layer2 = Halved(16, 64, nn.ReLU)
        self.layer3_7 = _units(64, (1, 1, 1, 1, 1))
        self.layer8 = Halved(64, 128, nn.ReLU)
        self.layer9_16 = _units(128, DILATIONS[0])
        self.layer17_24 = _units(128, DILATIONS[1])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the four stages, finest first."""
        first = self.layer1(image)
        second = self.layer3_7(self.layer2(first))
        third = self.layer9_16(self.layer8(second))
        return first, second, third, self.layer17_24(third)


class FDDWNetDecoder(Decoder):
    """Pyramid -> (B, out, 2 h, 2 w), h x w the finest stage: three transposed convolutions, one joined with stride 4.

    The published network ends in a ReLU, which makes all classes that are unlikely equal; here its input is what is
    classified: the order of the classes is the same, and scores tell more.
    """

    kind = "fddwnet"

    def __init__(self, out: int) -> None:
        super().__init__()
        self.layer25 = Doubled(128, 64)
        self.layer26_27 = _units(64, (1, 1))
        self.layer28 = Doubled(64, 16)
        self.layer29_30 = _units(16, (1, 1))
        self.layer31 = Doubled(16, out)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of ``make_decoder`` besides the pyramid; plain JSON."""
        return {"kind": self.kind}

    def penultimate(self, features: Sequence[Tensor]) -> Tensor:
        """Return the map at stride 4, joined with the encoder's, (B, 64, h, w)."""
        fine = features[1]
        x: Tensor = self.layer26_27(self.layer25(features[-1]).relu())
        # An image whose sides are no multiples of 8 gives one row or column more.
        return x[..., : fine.shape[-2], : fine.shape[-1]] + fine

    def embed(self, penultimate: Tensor) -> Tensor:
        """Return the embedding (B, out, 4 h, 4 w)."""
        embedding: Tensor = self.layer31(self.layer29_30(self.layer28(penultimate).relu()))
        return embedding


class Unit(nn.Module):
    """Factorised depth-wise filters twice, the second dilated, added to what came in (Liu et al., Fig. 2)."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            *_factorised(channels, 1), conv_bn_act(channels, channels, 1, nn.ReLU),
            *_factorised(channels, dilation), conv_bn_act(channels, channels, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) -> the same size."""
        added: Tensor = x + self.conv(x)
        return added.relu()


class Doubled(nn.Module):
    """Twice the size: a transposed 3x3 convolution and batch normalisation, before any activation."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        conv = nn.ConvTranspose2d(inside, out, 3, stride=2, padding=1, output_padding=1)
        self.up_conv = nn.Sequential(conv, nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, h, w) -> (B, out, 2 h, 2 w)."""
        larger: Tensor = self.up_conv(x)
        return larger


def _units(channels: int, dilations: Sequence[int]) -> nn.Sequential:
    return nn.Sequential(*(Unit(channels, dilation) for dilation in dilations))


def _factorised(channels: int, dilation: int) -> list[nn.Sequential]:
    """Return a depth-wise 3x1 and a 1x3."""
    return [conv_bn_act(channels, channels, kernel, dilation=dilation, groups=channels) for kernel in ((3, 1), (1, 3))]


def fddwnet(path: Path) -> Network:
    """Return the FDDWNet of published weights (Liu et al., 2020) at ``path``, a safetensors file or its folder.

    Its embedding has one channel a class, and its classifier passes them on. Raises ``OwsegError`` for a file that is
    missing or holds other weights.
    """
    state = read_weights(path, "an FDDWNet", LAST)
    classes, encoder = len(state[LAST]), FDDWNetEncoder()
    inside = {name: state.pop(name) for name in encoder.state_dict() if name in state}
    decoder = filled(FDDWNetDecoder(classes), state, path, "an FDDWNet")
    return Network(Backbone(filled(encoder, inside, path, "an FDDWNet")), decoder, passing(classes)).eval()


def _cityscapes(place: str, weights: str | Path | None = None) -> tuple[Network, LabelSpace]:
    return fddwnet(place_of("fddwnet-cityscapes", place, weights)), CITYSCAPES


CARDS = (
    Card(
        "fddwnet-cityscapes",
        "FDDWNet trained on Cityscapes: model.safetensors, or the folder that has it",
        make=_cityscapes,
        source="Liu et al., ICASSP 2020",
        facts={"form": "fddwnet-cityscapes:FILE"},
    ),
)
