"""What a residual pattern is trained by: RPL's losses and CoroCL (Liu et al., ICCV 2023).

R are the residual logits and V the frozen ones, (B, K, h, w); masks (B, h, w) bool say which pixels count. Every loss
is a mean over those, and 0 with a gradient of 0 where there is none, so that each process of a parallel training steps
whatever its own batch shows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def inlier(residual: Tensor, frozen: Tensor, where: Tensor, entropy_weight: float = 1.0) -> Tensor:
    """Return ``mean CE(R, argmax V) + w mean (H(softmax R) - H(softmax V))^2`` over the inlier pixels ``where``.

    Needs no truth: the labels are those of the frozen network, and so is the entropy H, in nats, that R is to keep.
    """
    wrong = F.cross_entropy(residual, frozen.argmax(1), reduction="none")
    return _mean(wrong + entropy_weight * (_entropy(residual) - _entropy(frozen)).square(), where)


def positive_energy(residual: Tensor, where: Tensor) -> Tensor:
    """Return ``mean max(0, log sum_k exp R_k)`` over the outlier pixels ``where``: as likely as none of the classes."""
    return _mean(residual.logsumexp(1).relu(), where)


def corocl(
    outliers: Tensor, inliers: Tensor, context_outliers: Tensor, context_inliers: Tensor, temperature: float = 0.1
) -> Tensor:
    """Return the context-robust contrastive loss of four sets of pixels, each (n, D) and of length 1.

    Anchors are outliers and inliers of the street, contrasts those and the outliers and the background of images of
    anything else, so that an outlier is told by what it is and not by where it stands. With P(i) the contrasts of
    anchor i's kind but itself, and N(i) those of the other,

        mean_i 1/|P(i)| sum_{p in P(i)} -log(e^{a_i c_p / t} / (e^{a_i c_p / t} + sum_{n in N(i)} e^{a_i c_n / t})).

    Anchors without a positive or a negative do not count; 0 where none is left.
    """
    anchors = torch.cat([outliers, inliers])
    contrasts = torch.cat([anchors, context_outliers, context_inliers])
    kinds = torch.cat([x.new_full((len(x),), kind) for x, kind in
                       ((outliers, 1.0), (inliers, 0.0), (context_outliers, 1.0), (context_inliers, 0.0))])  # fmt: skip
    alike = kinds[: len(anchors), None] == kinds[None]
    itself = torch.eye(len(anchors), len(contrasts), dtype=torch.bool, device=anchors.device)
    similar = anchors @ contrasts.T / temperature
    # log(e^s / (e^s + sum_n e^n)) = -softplus(log sum_n e^n - s), which overflows for no temperature.
    others = similar.masked_fill(alike, -torch.inf).logsumexp(1, keepdim=True)
    each = F.softplus(others - similar)
    positive = alike & ~itself
    counts = positive.sum(1)
    usable = (counts > 0) & ~alike.all(1)
    per_anchor = each.masked_fill(~(positive & usable[:, None]), 0).sum(1) / counts.clamp(min=1)
    return per_anchor.sum() / usable.sum().clamp(min=1)


def _entropy(logits: Tensor) -> Tensor:
    logs = logits.log_softmax(1)
    return -(logs.exp() * logs).sum(1)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return values.masked_fill(~where, 0).sum() / where.sum().clamp(min=1)
