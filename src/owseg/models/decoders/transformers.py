"""The head of a segmenter of transformers as a decoder (see ``owseg.models.published.transformers``)."""

from __future__ import annotations

from owseg._registry import Card
from owseg.models.published.transformers import HeadDecoder, from_config

CARDS = (
    Card(
        "transformers",
        "the head of a segmenter of transformers, for networks loaded as hf:NAME",
        make=lambda channels, strides, out, config: HeadDecoder(from_config(config)),
    ),
)
