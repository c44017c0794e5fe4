"""DMLNet's scores (Cen et al., ICCV 2021, Sec. 4.2), for logits ``-||f - m_t||^2`` with ``m_t = T e_t``.

Everything here costs O(K) per pixel by two identities, with ``c = (T/K) 1`` the centroid of the prototypes:

    p = softmax(logits) = softmax(2 T f)
    S = -sum_t logits_t = K |f - c|^2 + T^2 (K - 1)

so S is least, ``T^2 (K - 1)``, at the centroid, and ``2 T^2 (K - 1)`` at every prototype.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from owseg.errors import OwsegError
from owseg.scorers.softmax import msp
from owseg.types import Output

Normalisation = Literal["absolute", "paper", "code"]
"""How a score is scaled: "absolute" alike in every picture, the others by the extremes of each picture."""


def distance_sum(embedding: Tensor, scale: float = 3.0) -> Tensor:
    """Return ``S = sum_t ||f - T e_t||^2`` (B, h, w) of an embedding (B, K, h, w) (DMLNet, Eq. 7).

    ``scale`` is T. For an embedding at full resolution, where no logits are wanted. ``S = K (|f|^2 - 2 c
    sum_t f_t) + K T^2`` is summed plane by plane, so that the memory on top of the embedding does not grow
    with K. With logits at hand, S is ``-logits.sum(1)``.
    """
    classes = embedding.shape[1]
    total = torch.zeros_like(embedding[:, 0], dtype=torch.float32)
    for plane in embedding.float().unbind(1):
        total.addcmul_(plane, plane - 2 * scale / classes)
    return classes * total + classes * scale**2


def mmsp(output: Output) -> Tensor:
    """Return ``1 - max_t p_t``, p the softmax of the negative squared distances: ``msp`` (DMLNet, Eq. 6)."""
    return msp(output)


def eds(output: Output, normalisation: Normalisation = "absolute") -> Tensor:
    """Return how small the Euclidean distance sum ``S = sum_t ||f - m_t||^2`` is (DMLNet, Eq. 7-8).

    "absolute": ``-S``, comparable between pictures, at most ``-T^2 (K - 1)``. "paper": ``1 - S / max S``, in
    [0, 1]. "code": ``1 - (S' - min S') / (max S' - min S')`` with ``S' = min(S, 400)``, as in the authors'
    release, in [0, 1]; 0 where S' is constant. Maxima and minima are over each picture, so that every picture
    has its most anomalous pixel at the top of the range, and one threshold means something else in each.
    """
    s = -output.logits.float().sum(1)
    if normalisation == "absolute":
        return -s
    if normalisation == "paper":
        return 1 - s / s.amax((1, 2), keepdim=True)
    if normalisation == "code":
        return _least_in_picture(s.clamp(max=400))
    raise OwsegError(f"there is no normalisation {normalisation!r}; it is absolute, paper or code.")


def mixture(
    output: Output,
    normalisation: Normalisation = "absolute",
    beta: float | None = None,
    gamma: float = 0.8,
    scale: float = 3.0,
) -> Tensor:
    """Return ``a P_EDS + (1 - a) P_MMSP`` with ``a = 1 / (1 + exp(-beta (P_EDS - gamma)))``, in [0, 1].

    DMLNet, Eq. 9-10. "absolute": ``P_EDS = 1 - |f - c|^2 / |m_t - c|^2`` cut to [0, 1]: 1 at the centroid
    c of the prototypes, 0 at a prototype and beyond, the same in every picture; ``scale`` is T, read here
    only. "paper": Eq. 6 and 8 to the letter. "code": both probabilities are 1 less a per-picture min-max, as
    in the authors' release. ``beta`` is by default 20, and 50 for "code".
    """
    p_mmsp = msp(output)
    if normalisation == "absolute":
        least = scale**2 * (output.logits.shape[1] - 1)
        p_eds = (2 + eds(output) / least).clamp(0, 1)
    else:
        p_eds = eds(output, normalisation)
    if normalisation == "code":
        p_mmsp = _least_in_picture(1 - p_mmsp)
    if beta is None:
        beta = 50.0 if normalisation == "code" else 20.0
    a = torch.sigmoid(beta * (p_eds - gamma))
    return a * p_eds + (1 - a) * p_mmsp


def max_similarity(output: Output) -> Tensor:
    """Return ``-max_t f_t``, the largest inner product of f with a unit prototype ``m_t / T``, negated.

    The closed class is ``argmax_t f_t``; unlike EDS this asks only how far f goes towards it, not how long f
    is.
    """
    return -output.embedding.float().amax(1)


def _least_in_picture(values: Tensor) -> Tensor:
    """Return ``1 - minmax(values)`` over each picture of (B, h, w); 0 where the values are constant."""
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    spread = high - low
    return torch.where(spread > 0, (high - values) / spread, 0.0)
