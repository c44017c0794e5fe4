"""The softmax probability of a class that was trained on void pixels: the baseline "background"."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from owseg._registry import Card
from owseg.types import Output


def class_probability(output: Output, index: int) -> Tensor:
    """Return the softmax probability of class ``index``, (B, h, w) in [0, 1].

    For a class that was trained on void pixels it is the baseline "background" of Hendrycks et al., ICML 2022.
    """
    return output.softmax_logits.softmax(1)[:, index]


CARDS = (
    Card(
        "background",
        "probability of a class trained on void pixels",
        make=lambda network, index: partial(class_probability, index=index),
        source="Hendrycks et al., ICML 2022",
        facts={"needs": "background"},
    ),
)
