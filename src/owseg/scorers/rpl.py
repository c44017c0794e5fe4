"""RPL's score (Liu et al., ICCV 2023), for networks with a residual pattern."""

from __future__ import annotations

from torch import Tensor

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.types import Output


def rpl(output: Output) -> Tensor:
    """Return the energy ``-log sum_t exp R_t`` of the residual logits; raise ``OwsegError`` without a residual."""
    if output.residual is None:
        raise OwsegError("this output has no residual; train one with owseg train-residual.")
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
