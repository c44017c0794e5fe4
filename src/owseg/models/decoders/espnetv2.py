"""ESPNetv2's decoder, which is in one file with its encoder (see ``owseg.models.published.espnetv2``)."""

from __future__ import annotations

from owseg._registry import Card
from owseg.models.published.espnetv2 import ESPNetV2Decoder

CARDS = (
    Card(
        "espnetv2",
        "ESPNetv2's own, for its published weights",
        make=lambda channels, strides, out: ESPNetV2Decoder(channels, out),
        source="Mehta et al., CVPR 2019",
    ),
)
