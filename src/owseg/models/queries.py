"""What Q queries of a mask classifier say of each pixel: evidence for the classes, as a map that scores can read."""

from __future__ import annotations

import torch
from torch import Tensor


def query_evidence(classes: Tensor, masks: Tensor, negative: Tensor | None = None) -> Tensor:
    """Return the evidence (B, K + 1, h, w), or (B, K + 2, h, w) with a ``negative`` class, of Q queries.

    ``classes`` (B, Q, K + 1) are class logits, the last for "no object", ``masks`` (B, Q, h, w) mask logits,
    ``negative`` (B, Q) the logits of a further class. With ``P_q = softmax(classes_q)`` and ``m_q = sigmoid(masks_q)``
    the first channel is the confidence of all masks, ``c = sum_q m_q max_{k <= K} P_q(k)`` (Grcic et al., CVPRW 2023,
    arXiv:2301.03407). The next K are ``s_k = sum_q m_q P_q(k)``, of which the closed map is the argmax (Cheng et al.,
    NeurIPS 2021, Sec. 3.4). The last is ``sum_q m_q (P'_q(negative) - max_{k <= K} P'_q(k))``, P' the softmax over all
    K + 2 (UNO, Delić et al., BMVC 2024). The negative class has no part in P, so labels do not depend on it.

    Every channel is a sum over queries, so it may be interpolated, and averaged over views and tiles, whose queries
    differ.
    """
    known = classes.float().softmax(-1)[..., :-1]
    shares = [known.amax(-1, keepdim=True), known]
    if negative is not None:
        among_all = torch.cat([classes, negative[..., None]], -1).float().softmax(-1)
        shares.append(among_all[..., -1:] - among_all[..., :-2].amax(-1, keepdim=True))
    return torch.einsum("bqk,bqhw->bkhw", torch.cat(shares, -1), masks.float().sigmoid())
