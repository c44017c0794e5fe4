"""The largest logit, negated."""

from __future__ import annotations

from torch import Tensor

from owseg._registry import Card
from owseg.types import Output


def max_logit(output: Output) -> Tensor:
    """Return ``-max_t logits_t``, (B, h, w); Hendrycks et al., ICML 2022. With prototypes: ``min_t ||f - m_t||^2``."""
    return -output.logits.float().amax(1)


CARDS = (
    Card(
        "max_logit", "the largest logit, negated", make=lambda network: max_logit, source="Hendrycks et al., ICML 2022"
    ),
)
