"""The entropy of the softmax."""

from __future__ import annotations

from torch import Tensor

from owseg._registry import Card
from owseg.types import Output


def entropy(output: Output) -> Tensor:
    """Return the entropy ``-sum_t p_t log p_t`` of ``p = softmax(logits)``, (B, h, w), in nats, in [0, log K]."""
    log_p = output.softmax_logits.log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


CARDS = (Card("entropy", "entropy of the softmax, in nats", make=lambda network: entropy, source="Shannon, 1948"),)
