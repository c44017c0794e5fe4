"""RPL's score (Liu et al., ICCV 2023), for networks with a residual pattern."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.scorers.smoothing import gaussian
from owseg.types import Output, Scorer

if TYPE_CHECKING:
    from owseg.models.network import Network


def rpl(output: Output, smooth: int = 0) -> Tensor:
    """Return the energy ``-log sum_t exp R_t``, (B, h, w), of the residual logits R.

    With ``smooth`` it is blurred by a Gaussian (sigma 1) of so many cells of the output a side: the release has 7, in
    pixels, of which its network's output has one each (Liu et al., ICCV 2023, released code). Raises ``OwsegError`` for
    an output without residual logits, and as ``gaussian`` does.
    """
    if output.residual is None:
        raise OwsegError("this output has no residual logits; train a residual pattern with `owseg train-residual`.")
    energy = -output.residual.float().logsumexp(1)
    return gaussian(energy, smooth) if smooth else energy


def _of(network: Network, smooth: int = 0) -> Scorer:
    return partial(rpl, smooth=smooth)


CARDS = (
    Card(
        "rpl",
        "energy of the logits after a residual pattern",
        make=_of,
        source="Liu et al., ICCV 2023",
        options={"smooth": "side of a Gaussian in cells of the output; 7 in the release, 0 for none"},
        facts={"needs": "residual"},
    ),
)
