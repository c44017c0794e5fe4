"""Scores that read the logits of any classifier: ``Output -> (B, h, w)`` float32, higher = more anomalous."""

from __future__ import annotations

from torch import Tensor

from owseg.types import Output


def msp(output: Output) -> Tensor:
    """Return ``1 - max_t p_t`` with ``p = softmax(logits)``, in [0, 1 - 1/K]; Hendrycks & Gimpel, ICLR 2017.

    On a metric network this is DMLNet's Eq. 6. Values keep full relative precision down to 1e-38, so that
    confident pixels are still ranked where ``1 - p`` in float32 would call them all 0.
    """
    logits = output.logits.float()
    top, label = logits.max(1, keepdim=True)
    others = (logits - top).exp_().scatter(1, label, 0.0).sum(1)
    return others / (1 + others)


def max_logit(output: Output) -> Tensor:
    """Return ``-max_t logits_t``; Hendrycks et al., ICML 2022. On distances: ``min_t ||f - m_t||^2``."""
    return -output.logits.float().amax(1)


def energy(output: Output) -> Tensor:
    """Return the free energy ``-log sum_t exp(logits_t)``; Liu et al., NeurIPS 2020."""
    return -output.logits.float().logsumexp(1)


def class_probability(output: Output, index: int) -> Tensor:
    """Return the softmax probability of class ``index``, in [0, 1].

    Of a class trained on what is void, this is the baseline "background" (Hendrycks et al., ICML 2022).
    """
    return output.logits.float().softmax(1)[:, index]


def entropy(output: Output) -> Tensor:
    """Return the entropy ``-sum_t p_t log p_t`` of ``p = softmax(logits)`` in nats, in [0, log K]."""
    log_p = output.logits.float().log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)
