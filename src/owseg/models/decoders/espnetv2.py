"""ESPNetv2's decoder by name; it is written beside its encoder, in ``owseg.models.published.espnetv2``."""

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
