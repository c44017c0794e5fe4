"""WideResNet-38 (Wu, Shen & van den Hengel, 2016; Rota Bulo et al., CVPR 2018), the encoder of RPL's network.

Modules have the names of the published weights.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from owseg.models.published._checkpoints import load_encoder

WIDE38 = (3, 3, 6, 3, 1, 1)
"""Blocks of mod2 to mod7."""

CHANNELS = ((2, 2), (4, 4), (8, 8), (8, 16), (8, 16, 32), (16, 32, 64))
"""Of the convolutions of their blocks, in widths: of two 3x3, or of a 1x1, a 3x3 and a 1x1."""

DILATIONS = (1, 1, 1, 2, 4, 4)
DROPOUT = (0.0, 0.0, 0.0, 0.0, 0.3, 0.5)

STAGES = ("mod2", "mod3", "mod5", "mod7")
"""Whose maps make the pyramid: at strides 2, 4, 8 and 8."""


class WideResNetEncoder(nn.Module):
    """``image (B, 3, H, W) -> four maps`` of 2, 4, 16 and 64 ``width`` channels at strides 2, 4, 8 and 8.

    ``blocks`` are those of mod2 to mod7. Two maxima and one stride reduce the size; dilation does the rest.
    """

    kind = "wide_resnet"

    def __init__(self, blocks: Sequence[int] = WIDE38, width: int = 64) -> None:
        super().__init__()
        self.options: dict[str, Any] = {"blocks": list(blocks), "width": width}
        self.mod1 = nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, width, 3, padding=1, bias=False)))
        self.pool = nn.MaxPool2d(3, 2, 1)
        inside = width
        for i, count in enumerate(blocks):
            channels, made = [width * c for c in CHANNELS[i]], OrderedDict[str, nn.Module]()
            for n in range(count):
                stride = 2 if (i, n) == (2, 0) else 1
                made[f"block{n + 1}"] = Block(inside, channels, stride, DILATIONS[i], DROPOUT[i])
                inside = channels[-1]
            self.add_module(f"mod{i + 2}", nn.Sequential(made))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the four maps, finest first."""
        x, maps = self.mod1(image), {}
        for i in range(2, 8):
            x = self.get_submodule(f"mod{i}")(self.pool(x) if i < 4 else x)
            maps[f"mod{i}"] = x
        return tuple(maps[name] for name in STAGES)


VARIANTS: dict[str, Callable[[], WideResNetEncoder]] = {"wide-resnet38": WideResNetEncoder}


def load(name: str) -> WideResNetEncoder:
    """Return the encoder ``name``, ``wide-resnet38:FILE``, with the ImageNet weights of that file.

    The file has mod1 to mod7; what comes behind them, a norm and the classifier, is left out. Raises ``OwsegError`` as
    ``load_encoder`` does.
    """
    return load_encoder(name, VARIANTS, {"": ""}, ("bn_out.", "classifier.", "fc."))


class Block(nn.Module):
    """Normalisation and ReLU before each convolution (He et al., ECCV 2016), added to what came in.

    Where the size differs, what came in is projected by a 1x1 after the first normalisation. ``channels`` has two
    values, of 3x3 convolutions, or three, of a bottleneck. There is ``dropout`` of whole channels before the last.
    """

    def __init__(self, inside: int, channels: Sequence[int], stride: int, dilation: int, dropout: float) -> None:
        super().__init__()
        kernels = (1, 3, 1) if len(channels) == 3 else (3, 3)
        self.bn1 = _norm_relu(inside)
        layers, before = OrderedDict[str, nn.Module](), inside
        for i, (kernel, out) in enumerate(zip(kernels, channels, strict=True), 1):
            if i > 1:
                layers[f"bn{i}"] = _norm_relu(before)
            if i == len(kernels) and dropout:
                layers["dropout"] = nn.Dropout2d(dropout)
            rate = dilation if kernel == 3 else 1
            layers[f"conv{i}"] = nn.Conv2d(
                before, out, kernel, stride if i == 1 else 1, rate * (kernel // 2), rate, bias=False
            )
            before = out
        self.convs, self.proj_conv = nn.Sequential(layers), None
        if stride != 1 or inside != before:
            self.proj_conv = nn.Conv2d(inside, before, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, h, w) -> (B, channels[-1], h / stride, w / stride)."""
        normed = self.bn1(x)
        beside = x if self.proj_conv is None else self.proj_conv(normed)
        total: Tensor = beside + self.convs(normed)
        return total


def _norm_relu(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
