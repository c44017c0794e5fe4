"""The queries of a mask classifier as a decoder (see ``owseg.models.published.mask_classifiers``)."""

from __future__ import annotations

from owseg._registry import Card
from owseg.models.published.mask_classifiers import MaskDecoder, from_config

CARDS = (
    Card(
        "masks",
        "the queries of a mask classifier of transformers, for networks loaded as hf:NAME",
        make=lambda channels, strides, out, config, with_negative: MaskDecoder(from_config(config), with_negative),
    ),
)
