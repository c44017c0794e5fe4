"""The decoders of published networks, each in one file with its encoder (see ``owseg.models.published``)."""

from __future__ import annotations

from owseg._registry import Card
from owseg.models.published.dabnet import DABNetDecoder
from owseg.models.published.espnetv2 import ESPNetV2Decoder
from owseg.models.published.fddwnet import FDDWNetDecoder

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
)
