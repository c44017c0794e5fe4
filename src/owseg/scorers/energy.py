"""The free energy of the logits."""

from __future__ import annotations

from torch import Tensor

from owseg._registry import Card
from owseg.types import Output


def energy(output: Output) -> Tensor:
    """Return the free energy ``-log sum_t exp(logits_t)``, (B, h, w); Liu et al., NeurIPS 2020."""
    return -output.logits.float().logsumexp(1)


CARDS = (Card("energy", "free energy of the logits", make=lambda network: energy, source="Liu et al., NeurIPS 2020"),)
