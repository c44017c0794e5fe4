"""The largest inner product with a prototype, negated."""

from __future__ import annotations

from torch import Tensor

from owseg._registry import Card
from owseg.types import Output


def max_similarity(output: Output) -> Tensor:
    """Return ``-max_t f_t``, (B, h, w): the largest inner product of f with a unit prototype ``m_t / T``, negated.

    The closed class is ``argmax_t f_t``; unlike EDS this depends only on the coordinate of f towards it, not on the
    length of f.
    """
    return -output.embedding.float().amax(1)


CARDS = (
    Card(
        "max_similarity",
        "largest inner product with a prototype, negated",
        make=lambda network: max_similarity,
        facts={"needs": "metric"},
    ),
)
