"""DeepLabV3+ (Chen et al., ECCV 2018): on ResNet-101 DMLNet's network for Cityscapes, on WideResNet-38 that of RPL.

``owseg import dmlnet:FILE`` and ``rpl:FILE`` read the files of their authors.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from owseg.errors import OwsegError
from owseg.models.aspp import ASPP
from owseg.models.backbones.base import Backbone
from owseg.models.classifiers import PrototypeClassifier
from owseg.models.decoders.base import Decoder
from owseg.models.network import Network
from owseg.models.ops import conv_bn, size_of, widened_conv
from owseg.models.published._checkpoints import Part, fill, read_checkpoint, resnet_blocks, shape_of, wide_blocks
from owseg.models.published._layers import at_half_cells, passing
from owseg.models.published.resnet import ResNetEncoder
from owseg.models.published.resnet_psp import PROTOTYPES
from owseg.models.published.wide_resnet import WideResNetEncoder
from owseg.models.residual_pattern import ResidualPattern, residual_of


class _DeepLab(Decoder):
    """Pooling of the last stage, enlarged to the first, beside a projection of that: ``width + low`` channels."""

    align_corners: bool
    lateral: nn.Module
    project: nn.Module

    def __init__(self, channels: Sequence[int], width: int, low: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.width, self.low, self.rates = width, low, tuple(rates)
        self.aspp = ASPP(channels[-1], width, rates)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of ``make_decoder`` besides the pyramid; plain JSON."""
        return {"kind": self.kind, "width": self.width, "low": self.low, "rates": list(self.rates)}

    def penultimate(self, features: Sequence[Tensor]) -> Tensor:
        """Return the projected first stage and the pooled last one, on the grid of the first."""
        fine = self.lateral(features[0])
        coarse = self.project(self.aspp(features[-1]))
        size = size_of(fine)
        # At equal sizes this is the identity, with aligned corners and without.
        enlarged = F.interpolate(coarse, size=size, mode="bilinear", align_corners=self.align_corners)
        return torch.cat([fine, enlarged], 1)


class DeepLabV3PlusDecoder(_DeepLab):
    """Pyramid -> (B, out, h, w), h x w the first stage: that of DMLNet, with a last 3x3.

    It was trained to be enlarged without ``align_corners``, as whatever reads an embedding does: that at stride 4 is
    its last map as it is.
    """

    kind = "deeplabv3plus"
    align_corners = False

    def __init__(
        self, channels: Sequence[int], out: int, width: int = 256, low: int = 48, rates: Sequence[int] = (6, 12, 18)
    ) -> None:
        super().__init__(channels, width, low, rates)
        self.lateral = conv_bn(channels[0], low)
        self.project = nn.Sequential(conv_bn((len(rates) + 2) * width, width), nn.Dropout(0.1))
        self.fuse = conv_bn(width + low, width, 3)
        self.head = nn.Conv2d(width, out, 1)

    def widened(self, out: int) -> DeepLabV3PlusDecoder:
        """Return a copy whose last convolution has ``out`` outputs; the new ones start at zero."""
        wider = copy.deepcopy(self)
        wider.head = widened_conv(self.head, out)
        return wider

    def embed(self, penultimate: Tensor) -> Tensor:
        """Return the embedding (B, out, h, w)."""
        embedding: Tensor = self.head(self.fuse(penultimate))
        return embedding


class WideDeepLabDecoder(_DeepLab):
    """Pyramid -> (B, out, 2 h, 2 w), h x w the first stage: that of RPL, with two last 3x3.

    It was trained to be enlarged with ``align_corners`` (see ``at_half_cells``): from stride 2 its embedding is all
    that is enlarged, one value for each pixel.
    """

    kind = "deeplabv3plus_wide"
    align_corners = True

    def __init__(
        self, channels: Sequence[int], out: int, width: int = 256, low: int = 48, rates: Sequence[int] = (12, 24, 36)
    ) -> None:
        super().__init__(channels, width, low, rates)
        self.lateral = nn.Conv2d(channels[0], low, 1, bias=False)
        self.project = nn.Conv2d((len(rates) + 2) * width, width, 1, bias=False)
        self.fuse = nn.Sequential(conv_bn(width + low, width, 3), conv_bn(width, width, 3))
        self.head = nn.Conv2d(width, out, 1, bias=False)

    def embed(self, penultimate: Tensor) -> Tensor:
        """Return the embedding (B, out, 2 h, 2 w)."""
        return at_half_cells(self.head(self.fuse(penultimate)), 2)


def deeplab_resnet(path: Path) -> tuple[Network, list[DeepLabV3PlusDecoder]]:
    """Return the network in DMLNet's file for Cityscapes, and the heads of the classes that it learned since.

    Depth and width are those of its tensors. An embedding has one channel a class, before prototypes of length 3. The
    heads are ``classifier_1`` and so on, one class larger each. Raises ``OwsegError`` for a tensor that is missing,
    left over or of another shape.
    """
    state, what = read_checkpoint(path), "a DeepLabV3+ of DMLNet"
    inside = {name.removeprefix("backbone."): tensor for name, tensor in state.items() if name.startswith("backbone.")}
    width = shape_of(state, "backbone.conv1.weight", path, what)[0]
    body = ResNetEncoder(resnet_blocks(inside), width, 16)
    parts = [Part(body, {"stem.": "backbone.", "": "backbone."})]
    backbone, heads = Backbone(body), list[DeepLabV3PlusDecoder]()
    name = "classifier"
    while not heads or any(n.startswith(f"{name}.") for n in state):
        classes, narrow = shape_of(state, f"{name}.classifier.3.weight", path, what)[:2]
        low = shape_of(state, f"{name}.project.0.weight", path, what)[0]
        if heads and classes != heads[-1].head.out_channels + 1:
            raise OwsegError(f"{path} has a head {name} of {classes} classes, which is not one more than before it.")
        heads.append(DeepLabV3PlusDecoder(backbone.channels, classes, narrow, low))
        parts.append(Part(heads[-1], _resnet_names(name)))
        name = f"classifier_{len(heads)}"
    fill(parts, state, path, what)
    first, *learned = heads
    return Network(backbone, first, PrototypeClassifier(first.head.out_channels, PROTOTYPES)).eval(), learned


def deeplab_wide(path: Path) -> tuple[Network, ResidualPattern | None]:
    """Return the network in RPL's file, and its residual pattern; None where it has none.

    Depth and width are those of its tensors. Raises ``OwsegError`` for a tensor that is missing, left over or of
    another shape.
    """
    state, what = read_checkpoint(path), "a DeepLabV3+ of RPL"
    body = WideResNetEncoder(wide_blocks(state), shape_of(state, "mod1.conv1.weight", path, what)[0])
    classes, width = shape_of(state, "final.6.weight", path, what)[:2]
    low = shape_of(state, "bot_fine.weight", path, what)[0]
    backbone = Backbone(body)
    decoder = WideDeepLabDecoder(backbone.channels, classes, width, low)
    network, residual = Network(backbone, decoder, passing(classes)).eval(), None
    parts = [Part(body), Part(decoder, _WIDE)]
    if any(name.startswith("residual_block.") for name in state):
        narrow = shape_of(state, "residual_block.bot_atten_aspp.weight", path, what)[0]
        contrast = width + low
        residual = residual_of(
            network, skip=0, width=narrow, rates=decoder.rates, contrast=contrast, form="dense", align_corners=True
        ).eval()
        # Its last layer has no bias, and without CoroCL it was trained without a projection.
        state.setdefault(f"{_RESIDUAL['final.']}bias", torch.zeros(contrast))
        projection = _RESIDUAL["project."]
        if not any(name.startswith(projection) for name in state):
            state |= {projection + name: value for name, value in residual.project.state_dict().items()}
        parts.append(Part(residual, _RESIDUAL))
    for name in ("bot_aspp.weight", "residual_block.bot_atten_aspp.weight"):
        if name in state and state[name].ndim == 4:
            # Their pooling begins with the mean over the image; ``ASPP`` ends with it.
            state[name] = state[name].roll(-len(state[name]), 1)
    fill(parts, state, path, what)
    return network, residual


def _pooling(own: str, features: str, mean: str, first: int) -> dict[str, str]:
    """Return how the layers of ``ASPP`` are called: its branches, and the 1x1 of the mean, the layer ``first``."""
    pool = {f"{own}pool.{i}.": f"{mean}{first + i}." for i in range(2)}
    return {**pool, f"{own}branches.": features}


def _resnet_names(head: str) -> dict[str, str]:
    """Return how the layers of DMLNet's decoder ``head`` are called."""
    pooling = _pooling("aspp.", f"{head}.aspp.convs.", f"{head}.aspp.convs.4.", 1)
    last = {"lateral.": f"{head}.project.", "project.0.": f"{head}.aspp.project."}
    return {**pooling, **last, "fuse.": f"{head}.classifier.", "head.": f"{head}.classifier.3."}


_WIDE = {
    **_pooling("aspp.", "aspp.features.", "aspp.img_conv.", 0),
    "lateral.": "bot_fine.", "project.": "bot_aspp.", "head.": "final.6.",
    "fuse.0.": "final.", "fuse.1.0.": "final.3.", "fuse.1.1.": "final.4.",
}  # fmt: skip
"""How the layers of RPL's decoder are called."""

_RESIDUAL = {
    **_pooling("aspp.", "residual_block.atten_aspp.features.", "residual_block.atten_aspp.img_conv.", 0),
    "bottleneck.": "residual_block.bot_atten_aspp.", "final.": "residual_block.atten_aspp_final.",
    "project.": "residual_block.proj_head.proj.0.",
}  # fmt: skip
"""How those of its residual are called."""
