"""ResNet (He et al., CVPR 2016) with dilation in place of late strides, the encoder of DMLNet's two networks.

Modules have the names of torchvision's weights; those of the deep stem have the names of CSAIL's PSPNet.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from owseg.errors import OwsegError
from owseg.models.published._checkpoints import load_encoder

RESNET50 = (3, 4, 6, 3)
RESNET101 = (3, 4, 23, 3)
"""Bottlenecks of the four layers."""

DILATIONS = {8: (1, 1, 2, 4), 16: (1, 1, 1, 2), 32: (1, 1, 1, 1)}
"""Of the four layers, by the stride of the last one."""

EXPANSION = 4
"""What leaves a bottleneck has so many times the channels of its 3x3 convolution."""


class ResNetEncoder(nn.Module):
    """``image (B, 3, H, W) -> four maps``, one a layer, of 4, 8, 16 and 32 ``width`` channels.

    ``blocks`` are the bottlenecks of each layer, ``output_stride`` (8, 16 or 32) is the stride of the last. Where a
    layer keeps the size that it would halve, its 3x3 convolutions are dilated instead; its first has the dilation of
    the layer before. A ``deep_stem`` has three 3x3 convolutions for the 7x7. Raises ``OwsegError`` for another stride.
    """

    kind = "dilated_resnet"

    def __init__(
        self,
        blocks: Sequence[int] = RESNET101,
        width: int = 64,
        output_stride: int = 16,
        deep_stem: bool = False,
    ) -> None:
        super().__init__()
        if output_stride not in DILATIONS:
            raise OwsegError(f"the stride of a dilated ResNet is 8, 16 or 32, not {output_stride}.")
        self.options: dict[str, Any] = {
            "blocks": list(blocks), "width": width, "output_stride": output_stride, "deep_stem": deep_stem,
        }  # fmt: skip
        self.stem = (_deep_stem if deep_stem else _stem)(width)
        inside, before = (2 if deep_stem else 1) * width, 1
        for i, (count, dilation) in enumerate(zip(blocks, DILATIONS[output_stride], strict=True)):
            narrow, stride = width << i, 2 if i and dilation == before else 1
            layer = []
            for n in range(count):
                first = n == 0
                layer.append(Bottleneck(inside, narrow, stride if first else 1, before if first else dilation))
                inside = EXPANSION * narrow
            self.add_module(f"layer{i + 1}", nn.Sequential(*layer))
            before = dilation

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the four maps, finest first."""
        x, maps = self.stem(image), []
        for i in range(1, 5):
            x = self.get_submodule(f"layer{i}")(x)
            maps.append(x)
        return tuple(maps)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1, added to what came in, which a 1x1 projects where the size differs."""

    def __init__(self, inside: int, narrow: int, stride: int, dilation: int) -> None:
        super().__init__()
        out = EXPANSION * narrow
        self.conv1, self.bn1 = nn.Conv2d(inside, narrow, 1, bias=False), nn.BatchNorm2d(narrow)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(narrow)
        self.conv3, self.bn3 = nn.Conv2d(narrow, out, 1, bias=False), nn.BatchNorm2d(out)
        self.downsample = None
        if stride != 1 or inside != out:
            self.downsample = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, h, w) -> (B, 4 narrow, h / stride, w / stride)."""
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        y = self.bn3(self.conv3(y))
        total: Tensor = y + (x if self.downsample is None else self.downsample(x))
        return total.relu()


VARIANTS: dict[str, Callable[[], ResNetEncoder]] = {
    "dilated-resnet50": partial(ResNetEncoder, RESNET50, output_stride=8, deep_stem=True),
    "dilated-resnet101": partial(ResNetEncoder, RESNET101, output_stride=16),
}
"""The encoders of DMLNet's two networks, by the names under which they are trained."""


def load(name: str) -> ResNetEncoder:
    """Return the encoder ``name``, VARIANT:FILE, with the ImageNet weights of that file.

    The file of ``dilated-resnet50`` has the deep stem of CSAIL's resnet50-imagenet.pth, that of ``dilated-resnet101``
    the names of torchvision's resnet101; their classifier is left out. Raises ``OwsegError`` as ``load_encoder`` does.
    """
    return load_encoder(name, VARIANTS, {"stem.": "", "": ""}, ("fc.",))


def _stem(width: int) -> nn.Sequential:
    conv = nn.Conv2d(3, width, 7, 2, 3, bias=False)
    return _named(conv1=conv, bn1=nn.BatchNorm2d(width), relu1=nn.ReLU(), maxpool=nn.MaxPool2d(3, 2, 1))


def _deep_stem(width: int) -> nn.Sequential:
    layers: dict[str, nn.Module] = {}
    for i, (inside, out) in enumerate(((3, width), (width, width), (width, 2 * width)), 1):
        layers[f"conv{i}"] = nn.Conv2d(inside, out, 3, 2 if i == 1 else 1, 1, bias=False)
        layers[f"bn{i}"], layers[f"relu{i}"] = nn.BatchNorm2d(out), nn.ReLU()
    return _named(**layers, maxpool=nn.MaxPool2d(3, 2, 1))


def _named(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))
