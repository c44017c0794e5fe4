"""DMLNet's scores (Cen et al., ICCV 2021, Sec. 4.2), for logits ``-||f - m_t||^2`` with ``m_t = T e_t``.

Everything here costs O(K) per pixel by two identities, with ``c = (T/K) 1`` the centroid of the prototypes:

    p = softmax(logits) = softmax(2 T f)
    S = -sum_t logits_t = K |f - c|^2 + T^2 (K - 1)

so S is least, ``T^2 (K - 1)``, at the centroid, and ``2 T^2 (K - 1)`` at every prototype.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.types import Output, Scorer

if TYPE_CHECKING:
    from owseg.models.network import Network

Normalisation = Literal["absolute", "paper", "code"]
"""How a score is scaled: "absolute" in the same way in every image, the others by the extremes of each image."""


def distance_sum(embedding: Tensor, scale: float = 3.0) -> Tensor:
    """Return ``S = sum_t ||f - T e_t||^2`` (B, h, w) of an embedding (B, K, h, w) (DMLNet, Eq. 7).

    ``scale`` is T. It is for embeddings at full resolution: no logits are computed, and the memory on top of the
    embedding does not grow with K. Where there are logits, S is ``-logits.sum(1)``.
    """
    classes = embedding.shape[1]
    # S = K (|f|^2 - 2 c sum_t f_t) + K T^2 with c = T / K, summed plane by plane.
    total = torch.zeros_like(embedding[:, 0], dtype=torch.float32)
    for plane in embedding.float().unbind(1):
        total.addcmul_(plane, plane - 2 * scale / classes)
    return classes * total + classes * scale**2


def eds(output: Output, normalisation: Normalisation = "absolute", clip: float = 400.0) -> Tensor:
    """Return the negated Euclidean distance sum ``S = sum_t ||f - m_t||^2``, (B, h, w) (DMLNet, Eq. 7-8).

    "absolute": ``-S``, comparable between images, at most ``-T^2 (K - 1)``. "paper": ``1 - S / max S``, in
    [0, 1]. "code": ``1 - (S' - min S') / (max S' - min S')`` with ``S' = min(S, clip)``, as in the authors'
    release, in [0, 1]; 0 where S' is constant. Maxima and minima are taken over each image, so in "paper" and "code" a
    threshold has a different meaning in each image. Raises ``OwsegError`` for another normalisation.
    """
    s = -output.logits.float().sum(1)
    if normalisation == "absolute":
        return -s
    if normalisation == "paper":
        # Never 0 / 0: S is at least T^2 (K - 1), and K at least 2.
        return 1 - s / s.amax((1, 2), keepdim=True)
    if normalisation == "code":
        return one_minus_minmax(s.clamp(max=clip))
    raise OwsegError(f"there is no normalisation {normalisation!r}; it is absolute, paper or code.")


def one_minus_minmax(values: Tensor) -> Tensor:
    """Return ``1 - minmax(values)`` over each image of (B, h, w); 0 where the values are constant."""
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    spread = high - low
    return torch.where(spread > 0, (high - values) / spread, 0.0)


def _code(network: Network, clip: float = 400.0) -> Scorer:
    return partial(eds, normalisation="code", clip=clip)


CARDS = (
    Card(
        "eds",
        "small sum of the distances to all prototypes; comparable between images",
        make=lambda network: eds,
        source="Cen et al., ICCV 2021, Eq. 7-8",
        facts={"needs": "metric"},
    ),
    Card(
        "eds_paper",
        "EDS divided by the maximum of each image, as in the paper",
        make=lambda network: partial(eds, normalisation="paper"),
        source="Cen et al., ICCV 2021, Eq. 8",
        facts={"needs": "metric"},
    ),
    Card(
        "eds_code",
        "EDS scaled by the extremes of each image, as in the authors' release",
        make=_code,
        source="github.com/Jun-CEN/Open-World-Semantic-Segmentation",
        options={"clip": "the sum of distances above which all are alike"},
        facts={"needs": "metric"},
    ),
)
