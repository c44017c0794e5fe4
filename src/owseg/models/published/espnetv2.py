"""ESPNetv2 (Mehta et al., CVPR 2019): a segmenter of less than a million parameters, for cameras and CPUs.

Modules have the names of the published weights, so these can be loaded as they are.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from owseg._registry import Card
from owseg.data.datasets.cityscapes import CITYSCAPES
from owseg.errors import OwsegError
from owseg.labels import BACKGROUND, LabelSpace
from owseg.models.backbones.base import Backbone
from owseg.models.classifiers import LinearClassifier
from owseg.models.decoders.base import Decoder
from owseg.models.network import Network
from owseg.models.ops import ConvNorm, Shuffle, pooled, size_of
from owseg.models.published._weights import filled, place_of, read_weights
from owseg.models.traced import ceiled, largest

BRANCHES = 4
"""Parallel dilated convolutions of an EESP unit."""

REPEATS = (3, 7)
"""EESP units at strides 8 and 16."""

FIELDS = (13, 11, 9, 7)
"""Largest receptive field of a branch: down to stride 4, down to 8, at 8 and down to 16, at 16."""

PLANES = (64, 48, 32)
"""Channels of the decoder at strides 16, 8 and 4."""

POOLS = (2.0, 1.5, 1.0, 0.5, 0.1)
"""Sizes, relative to the map, at which the decoder filters it."""


class ESPNetV2Encoder(nn.Module):
    """``image (B, 3, H, W) -> four maps`` at strides 2, 4, 8 and 16, finest first.

    ``scale`` widens it: 32, 128, 256 and 512 channels at 2.0. Raises ``OwsegError`` for a scale that is not positive.
    """

    kind = "espnetv2"

    def __init__(self, scale: float = 2.0) -> None:
        super().__init__()
        if not scale > 0:
            raise OwsegError(f"the scale of an ESPNetv2 is positive, not {scale}.")
        self.scale, self.options = scale, {"scale": scale}
        # Channels are divided among the branches without a rest.
        base = math.ceil(int(32 * scale) / BRANCHES) * BRANCHES
        stem, fine, middle, coarse = min(32, base), 2 * base, 4 * base, 8 * base
        self.level1 = conv_bn_act(3, stem, 3, stride=2)
        self.level2_0 = Down(stem, fine, FIELDS[0])
        self.level3_0 = Down(fine, middle, FIELDS[1])
        self.level3 = nn.ModuleList([EESP(middle, middle, FIELDS[2]) for _ in range(REPEATS[0])])
        self.level4_0 = Down(middle, coarse, FIELDS[2])
        self.level4 = nn.ModuleList([EESP(coarse, coarse, FIELDS[3]) for _ in range(REPEATS[1])])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the four stages, finest first."""
        first = self.level1(image)
        second = self.level2_0(first, image)
        third = self.level3_0(second, image)
        for unit in self.level3:
            third = unit(third)
        fourth = self.level4_0(third, image)
        for unit in self.level4:
            fourth = unit(fourth)
        return first, second, third, fourth


class ESPNetV2Decoder(Decoder):
    """Pyramid -> (B, out, h, w) at the finest stage: pyramid pooling, then three fusions with a finer map.

    The published networks have ``out = 10``, half as many as outputs.
    """

    kind = "espnetv2"

    def __init__(self, channels: Sequence[int], out: int) -> None:
        super().__init__()
        self.bu_dec_l1 = PyramidPool(channels[-1], out, PLANES[0])
        # From the second coarsest stage to the finest.
        for level, skip, here, after in zip((2, 3, 4), channels[-2::-1], PLANES, (*PLANES[1:], None), strict=True):
            self.add_module(f"merge_enc_dec_l{level}", Gate(skip, here))
            self.add_module(f"bu_br_l{level}", nn.Sequential(nn.BatchNorm2d(here), nn.PReLU(here)))
            self.add_module(f"bu_dec_l{level}", PyramidPool(here, out, after))

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of ``make_decoder`` besides the pyramid; plain JSON."""
        return {"kind": self.kind}

    def penultimate(self, features: Sequence[Tensor]) -> Tensor:
        """Return the last fusion, (B, 32, h, w) at the finest map's resolution."""
        x = features[-1]
        for level, skip in zip((1, 2, 3), features[-2::-1], strict=True):
            x = self._filtered(level, x)
            x = self.get_submodule(f"merge_enc_dec_l{level + 1}")(skip) + _resize(x, skip.shape[-2:])
        return x

    def embed(self, penultimate: Tensor) -> Tensor:
        """Return the embedding (B, out, h, w) at the finest map's resolution."""
        return self._filtered(4, penultimate)

    def _filtered(self, level: int, x: Tensor) -> Tensor:
        activated = self.get_submodule(f"bu_br_l{level}")(x) if level > 1 else x
        filtered: Tensor = self.get_submodule(f"bu_dec_l{level}")(activated)
        return filtered


class EESP(nn.Module):
    """Extremely efficient spatial pyramid: depth-wise convolutions of growing dilation, added up branch by branch.

    Adding each branch to the next before they are concatenated removes the gridding artifacts of dilation.
    """

    def __init__(self, inside: int, out: int, field: int, stride: int = 1) -> None:
        super().__init__()
        # A 3x3 of dilation d sees 2 d + 1 pixels: branches see 3, 5, 7, 9; one that would exceed ``field`` sees 3.
        narrow = out // BRANCHES
        dilations = sorted((min(3 + 2 * i, field) if 3 + 2 * i <= field else 3) // 2 for i in range(BRANCHES))
        self.stride = stride
        self.proj_1x1 = conv_bn_act(inside, narrow, 1, groups=BRANCHES)
        self.spp_dw = nn.ModuleList(
            [_named(conv=nn.Conv2d(narrow, narrow, 3, stride, d, d, narrow, bias=False)) for d in dilations]
        )
        self.br_after_cat = _named(bn=nn.BatchNorm2d(out), act=nn.PReLU(out))
        self.conv_1x1_exp = _named(conv=nn.Conv2d(out, out, 1, groups=BRANCHES, bias=False), bn=nn.BatchNorm2d(out))
        self.module_act = nn.PReLU(out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, h, w) -> (B, out, h / stride, w / stride); at stride 1, x is added and the sum activated."""
        low = self.proj_1x1(x)
        branches = [self.spp_dw[0](low)]
        for branch in list(self.spp_dw)[1:]:
            # Each branch adds the one before it: hierarchical feature fusion.
            branches.append(branch(low) + branches[-1])
        wide: Tensor = self.conv_1x1_exp(self.br_after_cat(torch.cat(branches, 1)))
        activated: Tensor = wide if self.stride == 2 else self.module_act(wide + x)
        return activated


class Down(nn.Module):
    """Half the size: an EESP unit of stride 2 beside average pooling, reinforced by the image itself."""

    def __init__(self, inside: int, out: int, field: int) -> None:
        super().__init__()
        self.eesp = EESP(inside, out - inside, field, stride=2)
        widen = _named(conv=nn.Conv2d(3, out, 1, bias=False), bn=nn.BatchNorm2d(out))
        self.inp_reinf = nn.Sequential(conv_bn_act(3, 3, 3), widen)
        self.act = nn.PReLU(out)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """(B, inside, h, w) and the image (B, 3, H, W) -> (B, out, h / 2, w / 2)."""
        pooled = F.avg_pool2d(x, 3, 2, 1)
        # The image halved until it has the size of the map.
        while image.shape[-2] > pooled.shape[-2]:
            image = F.avg_pool2d(image, 3, 2, 1)
        reduced: Tensor = self.act(torch.cat([pooled, self.eesp(x)], 1) + self.inp_reinf(image))
        return reduced


class PyramidPool(nn.Module):
    """Efficient pyramid pooling: depth-wise 3x3 at five sizes of the map, joined by shuffled, grouped convolutions.

    With ``out``, the joined channels are projected to it; without, they are what it returns.
    """

    def __init__(self, inside: int, width: int, out: int | None) -> None:
        super().__init__()
        every = width * len(POOLS)
        self.projection_layer = _cbr(inside, width, 1)
        self.stages = nn.ModuleList([nn.Conv2d(width, width, 3, 1, 1, groups=width, bias=False) for _ in POOLS])
        join: list[nn.Module] = [_br(every), Shuffle(len(POOLS)), _cbr(every, width, 3, groups=width)]
        if out is not None:
            join.append(nn.Conv2d(width, out, 1, bias=False))
            self.br = _br(out)
        self.merge_layer = nn.Sequential(*join)
        self.projects = out is not None

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, h, w) -> (B, out or width, h, w)."""
        x = self.projection_layer(x)
        size, maps = size_of(x), []
        for factor, stage in zip(POOLS, self.stages, strict=True):
            # At least 5 pixels a side, as when the weights were trained; a tenth of a small map would be one.
            other = (largest(5, ceiled(size[0], factor)), largest(5, ceiled(size[1], factor)))
            if factor > 1:
                # Above 1 the map is enlarged, filtered and pooled back; below 1 the other way round.
                maps.append(pooled(stage(_resize(x, other)), size))
            elif factor < 1:
                maps.append(_resize(stage(pooled(x, other)), size))
            else:
                maps.append(stage(x))
        merged: Tensor = self.merge_layer(torch.cat(maps, 1))
        projected: Tensor = self.br(merged) if self.projects else merged
        return projected


class Gate(nn.Module):
    """A grouped 3x3 on the encoder's map, each channel weighted by a sigmoid of the pooled map."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        weigh = nn.Conv2d(inside, out, 1, bias=False)
        self.wt_layer = nn.Sequential(nn.AdaptiveAvgPool2d(1), weigh, nn.Sigmoid())
        self.expansion_layer = _cbr(inside, out, 3, groups=math.gcd(inside, out))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, h, w) -> (B, out, h, w)."""
        weighted: Tensor = self.expansion_layer(x) * self.wt_layer(x)
        return weighted


def _named(**modules: nn.Module) -> nn.Sequential:
    """Return a sequence of modules with the names of the published weights."""
    return nn.Sequential(OrderedDict(modules))


def conv_bn_act(inside: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return convolution, batch normalisation, PReLU."""
    conv = nn.Conv2d(inside, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return ConvNorm(OrderedDict(conv=conv, bn=nn.BatchNorm2d(out), act=nn.PReLU(out)))


def _cbr(inside: int, out: int, kernel: int, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inside, out, kernel, 1, kernel // 2, groups=groups, bias=False)
    return _named(cbr=ConvNorm(conv, nn.BatchNorm2d(out), nn.PReLU(out)))


def _br(channels: int) -> nn.Sequential:
    return _named(br=nn.Sequential(nn.BatchNorm2d(channels), nn.PReLU(channels)))


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate with corners aligned, as the published networks were trained."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


_LAST = "bu_dec_l4.merge_layer.3."


def espnetv2(path: Path, outputs: int = len(CITYSCAPES)) -> Network:
    """Return the ESPNetv2 of published Cityscapes weights (Mehta et al., CVPR 2019), of any width.

    Of its outputs the first ``outputs`` are kept: 19 are the classes, the twentieth is for background. Raises
    ``OwsegError`` for a file that is missing or holds other weights.
    """
    what, width = "an ESPNetv2 for Cityscapes", "base_net.level2_0.act.weight"
    state = read_weights(path, what, width, *(_LAST + n for n in ("weight", "bias")))
    # The PReLU of level 2 has one weight per channel, 64 * scale of them.
    encoder = ESPNetV2Encoder(len(state[width]) / 64)
    # Taken out of ``state``: what is left must fit encoder and decoder exactly.
    kept = {n: state.pop(_LAST + n)[:outputs] for n in ("weight", "bias")}
    last = LinearClassifier(kept["weight"].shape[1], outputs)
    filled(last.conv, kept, path, what)
    inside = {n.removeprefix("base_net."): v for n, v in state.items() if n.startswith("base_net.")}
    backbone = Backbone(filled(encoder, inside, path, what))
    decoder = ESPNetV2Decoder(backbone.channels, last.embedding_channels)
    filled(decoder, {n: v for n, v in state.items() if not n.startswith("base_net.")}, path, what)
    return Network(backbone, decoder, last).eval()


def _cityscapes(name: str, place: str, weights: str | Path | None, labels: LabelSpace) -> tuple[Network, LabelSpace]:
    return espnetv2(place_of(name, place, weights), len(labels)), labels


CARDS = (
    Card(
        "espnetv2-cityscapes",
        "ESPNetv2 with its published Cityscapes weights: model.safetensors, or the folder that has it",
        make=lambda place, weights=None: _cityscapes("espnetv2-cityscapes", place, weights, CITYSCAPES),
        source="Mehta et al., CVPR 2019",
        facts={"form": "espnetv2-cityscapes:FILE"},
    ),
    Card(
        "espnetv2-cityscapes+background",
        "the same, with its output for background kept as a class",
        make=lambda place, weights=None: _cityscapes(
            "espnetv2-cityscapes+background", place, weights, CITYSCAPES.extend(BACKGROUND)
        ),
        source="Mehta et al., CVPR 2019",
        facts={"form": "espnetv2-cityscapes+background:FILE"},
    ),
)
