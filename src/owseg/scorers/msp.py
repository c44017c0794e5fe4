"""Maximum softmax probability (MSP), and DMLNet's MMSP, which is the same on a metric network."""

from __future__ import annotations

from torch import Tensor

from owseg._registry import Card
from owseg.types import Output


def msp(output: Output) -> Tensor:
    """Return ``1 - max_t p_t`` of ``p = softmax(logits)``, (B, h, w) in [0, 1 - 1/K]; Hendrycks & Gimpel, ICLR 2017.

    On a metric network this is DMLNet's Eq. 6. Values keep full relative precision down to 1e-38, so confident pixels
    are still ranked where ``1 - p`` in float32 is 0.
    """
    logits = output.softmax_logits
    # 1 - p_max = s / (1 + s), s the sum of the others' exp(logit - max logit): nothing is subtracted from 1.
    top, label = logits.max(1, keepdim=True)
    others = (logits - top).exp_().scatter(1, label, 0.0).sum(1)
    return others / (1 + others)


def mmsp(output: Output) -> Tensor:
    """Return ``1 - max_t p_t``, p the softmax of the negative squared distances: ``msp`` (DMLNet, Eq. 6)."""
    return msp(output)


CARDS = (
    Card(
        "msp", "1 - the largest softmax probability", make=lambda network: msp, source="Hendrycks & Gimpel, ICLR 2017"
    ),
    Card(
        "mmsp",
        "the same of DMLNet's distances",
        make=lambda network: mmsp,
        source="Cen et al., ICCV 2021, Eq. 6",
        facts={"needs": "metric"},
    ),
)
