"""RPL's score (Liu et al., ICCV 2023), for networks with a residual pattern."""

from __future__ import annotations

from torch import Tensor

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.types import Output


def rpl(output: Output) -> Tensor:
    """Return the energy ``-log sum_t exp R_t``, (B, h, w), of the residual logits R.

    Raises ``OwsegError`` for an output without them.
    """
    if output.residual is None:
        raise OwsegError("this output has no residual logits; train a residual pattern with `owseg train-residual`.")
    # The released code blurs the score at once; here that is a step of its own (``smoothing.gaussian``).
    return -output.residual.float().logsumexp(1)


CARDS = (
    Card(
        "rpl",
        "energy of the logits after a residual pattern",
        make=lambda network: rpl,
        source="Liu et al., ICCV 2023",
        facts={"needs": "residual"},
    ),
)
