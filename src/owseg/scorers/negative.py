"""The logit of what is none of the known classes against all of them, learned from outliers."""

from __future__ import annotations

from torch import Tensor

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.types import Output


def negative(output: Output) -> Tensor:
    """Return the logit of the negative class, (B, h, w) float32: positive where outliers are likelier.

    Of a mask classifier it is no logit but the last channel of ``query_evidence``, UNO's score. Raises ``OwsegError``
    for an output without a negative class.
    """
    if output.negative is None:
        raise OwsegError("this network has no negative class; add one with `owseg train-negative`.")
    return output.negative.float()


CARDS = (
    Card(
        "negative",
        "logit of outliers against all known classes, from a decoder that was shown some",
        make=lambda network: negative,
        source="after UNO, Delić et al., BMVC 2024",
        facts={"needs": "negative"},
    ),
    Card(
        "uno",
        "the same of a mask classifier: its masks' negative class against the best of the others",
        make=lambda network: negative,
        source="Delić et al., BMVC 2024",
        facts={"needs": "masks and negative"},
    ),
)
