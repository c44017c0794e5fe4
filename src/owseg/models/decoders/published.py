"""The decoders of published networks, each in one file with its encoder (see ``owseg.models.published``)."""

from __future__ import annotations

from owseg._registry import Card
from owseg.models.published.dabnet import DABNetDecoder
from owseg.models.published.deeplabv3plus import DeepLabV3PlusDecoder, WideDeepLabDecoder
from owseg.models.published.espnetv2 import ESPNetV2Decoder
from owseg.models.published.fddwnet import FDDWNetDecoder
from owseg.models.published.resnet_psp import PSPNetDecoder

CARDS = (
    Card(
        "espnetv2",
        "ESPNetv2's own, for its published weights",
        make=lambda channels, strides, out: ESPNetV2Decoder(channels, out),
        source="Mehta et al., CVPR 2019",
    ),
    Card(
        "dabnet",
        "DABNet's own, for its published weights",
        make=lambda channels, strides, out: DABNetDecoder(channels[-1], out),
        source="Li et al., BMVC 2019",
    ),
    Card(
        "fddwnet",
        "FDDWNet's own, for its published weights",
        make=lambda channels, strides, out: FDDWNetDecoder(out),
        source="Liu et al., ICASSP 2020",
    ),
    Card(
        "pspnet",
        "pyramid pooling with batch normalisation, of DMLNet's network for StreetHazards",
        make=lambda channels, strides, out, width=512: PSPNetDecoder(channels, out, width),
        source="Zhao et al., CVPR 2017",
        options={"width": "channels of the decoder"},
    ),
    Card(
        "deeplabv3plus",
        "dense atrous pooling and one finer stage, of DMLNet's network for Cityscapes",
        make=lambda channels, strides, out, width=256, **config: DeepLabV3PlusDecoder(channels, out, width, **config),
        source="Chen et al., ECCV 2018",
        options={"width": "channels of the decoder"},
    ),
    Card(
        "deeplabv3plus_wide",
        "the same with two last filters, of RPL's network",
        make=lambda channels, strides, out, width=256, **config: WideDeepLabDecoder(channels, out, width, **config),
        source="Zhu et al., CVPR 2019",
        options={"width": "channels of the decoder"},
    ),
)
