"""The evidence for a class of what is none of the known ones, learned from outliers shown in training."""

from __future__ import annotations

from torch import Tensor

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.types import Output


def negative(output: Output) -> Tensor:
    """Return ``n - max_t e_t``, (B, h, w): the evidence n for the negative class less that for the nearest known one.

    Raises ``OwsegError`` for an output without a negative class.
    """
    if output.negative is None:
        raise OwsegError("this network has no negative class; train one with `owseg train --outliers DIR`.")
    return output.negative.float() - output.softmax_logits.amax(1)


CARDS = (
    Card(
        "negative",
        "evidence for a class of outliers less that for the nearest known class",
        make=lambda network: negative,
        source="after UNO, Delić et al., BMVC 2024",
        facts={"needs": "negative"},
    ),
)
