"""PSPNet (Zhao et al., CVPR 2017) on the deep-stem ResNet-50 at stride 8: DMLNet's network for StreetHazards.

Modules have the names of the published weights, so these can be loaded as they are (``owseg import dmlnet:FOLDER``).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from owseg.models.backbones.base import Backbone
from owseg.models.classifiers import PrototypeClassifier
from owseg.models.decoders.base import Decoder
from owseg.models.network import Network
from owseg.models.ops import Pool, check_batch, conv_bn, resize, size_of, widened_conv
from owseg.models.published._checkpoints import Part, fill, read_checkpoint, resnet_blocks, shape_of
from owseg.models.published.resnet import ResNetEncoder

BINS = (1, 2, 3, 6)
PROTOTYPES = 3.0
"""T, the length of the prototypes (Cen et al., ICCV 2021, Sec. 5.1)."""

DROPPED = ("cbr_deepsup.", "conv_last_deepsup.")
"""Deep supervision, which only training reads."""


class PSPNetDecoder(Decoder):
    """Pyramid -> (B, out, h, w), h x w the last stage: its means over 1, 2, 3 and 6 bins beside it, joined by a 3x3.

    The network was trained to be enlarged without ``align_corners``, as whatever reads an embedding does: that at
    stride 8 is its last map as it is.
    """

    kind = "pspnet"

    def __init__(self, channels: Sequence[int], out: int, width: int = 512) -> None:
        super().__init__()
        self.width, deep = width, channels[-1]
        self.ppm = nn.ModuleList(nn.Sequential(Pool(b), *conv_bn(deep, width)) for b in BINS)
        joined = conv_bn(deep + len(BINS) * width, width, 3)
        self.conv_last = nn.Sequential(*joined, nn.Dropout2d(0.1), nn.Conv2d(width, out, 1))

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of ``make_decoder`` besides the pyramid; plain JSON."""
        return {"kind": self.kind, "width": self.width}

    def widened(self, out: int) -> PSPNetDecoder:
        """Return a copy whose last convolution has ``out`` outputs; the new ones start at zero."""
        wider, last = copy.deepcopy(self), self.conv_last[-1]
        assert isinstance(last, nn.Conv2d)
        wider.conv_last[-1] = widened_conv(last, out)
        return wider

    def penultimate(self, features: Sequence[Tensor]) -> Tensor:
        """Return the last stage and its pooled ones, on its grid; raise ``OwsegError`` for one image in training."""
        deep = features[-1]
        check_batch(self.conv_last[1], len(deep))
        size = size_of(deep)
        return torch.cat([deep, *(resize(pool(deep), size) for pool in self.ppm)], 1)

    def embed(self, penultimate: Tensor) -> Tensor:
        """Return the embedding (B, out, h, w)."""
        embedding: Tensor = self.conv_last(penultimate)
        return embedding


def resnet_psp(encoder: Path, decoder: Path) -> Network:
    """Return the PSPNet of DMLNet's two files; depth and width are those of its tensors.

    Its embedding has one channel a class, before prototypes of length 3. Raises ``OwsegError`` for what
    ``read_checkpoint`` refuses, and for a tensor that is missing, left over or of another shape.
    """
    what = "a PSPNet of DMLNet"
    inside, last = read_checkpoint(encoder), read_checkpoint(decoder)
    width = shape_of(inside, "conv1.weight", encoder, what)[0]
    classes, narrow = shape_of(last, "conv_last.4.weight", decoder, what)[:2]
    body = ResNetEncoder(resnet_blocks(inside), width, 8, deep_stem=True)
    fill([Part(body, {"stem.": "", "": ""})], inside, encoder, what)
    backbone = Backbone(body)
    head = PSPNetDecoder(backbone.channels, classes, narrow)
    fill([Part(head)], last, decoder, what, DROPPED)
    return Network(backbone, head, PrototypeClassifier(classes, PROTOTYPES)).eval()
