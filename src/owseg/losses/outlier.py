"""The losses of a residual pattern: RPL's and CoroCL (Liu et al., ICCV 2023).

R are the logits with the residual and V the frozen ones, (B, K, h, w); masks (B, h, w) bool say which pixels count.
Every loss is a mean over those, and 0 with a gradient of 0 where there is none, so that in parallel training each
process makes its step whatever its own batch holds.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def inlier(residual: Tensor, frozen: Tensor, where: Tensor, entropy_weight: float = 1.0) -> Tensor:
    """Return ``mean CE(R, argmax V) + w mean (H(softmax R) - H(softmax V))^2`` over the inlier pixels ``where``.

    No ground truth is needed: labels and entropy H (in nats) are those of the frozen network, and R is to keep them.
    """
    # The frozen argmax is a pseudo-label: nothing flows back through it.
    cross_entropy = F.cross_entropy(residual, frozen.argmax(1), reduction="none")
    return _mean(cross_entropy + entropy_weight * (_entropy(residual) - _entropy(frozen)).square(), where)


def positive_energy(residual: Tensor, where: Tensor) -> Tensor:
    """Return ``mean max(0, log sum_k exp R_k)`` over the outlier pixels ``where``: 0 where the energy is positive."""
    # Log-sum-exp is the negated energy, with temperature 1 and no margin, as in the released code.
    return _mean(residual.logsumexp(1).relu(), where)


def corocl(
    outliers: Tensor, inliers: Tensor, context_outliers: Tensor, context_inliers: Tensor, temperature: float = 0.1
) -> Tensor:
    """Return the context-robust contrastive loss of four sets of pixels, each (n, D) and of length 1.

    Anchors are the outliers and inliers of the training images, contrasts those and the outliers and the background of
    images of other scenes (the context), so that an outlier is recognised by what it is and not by its surroundings.
    With P(i) the contrasts of anchor i's kind without itself, and N(i) those of the other kind,

        mean_i 1/|P(i)| sum_{p in P(i)} -log(e^{a_i c_p / t} / (e^{a_i c_p / t} + sum_{n in N(i)} e^{a_i c_n / t})).

    Anchors without a positive or a negative do not count; 0 where none is left.
    """
    anchors = torch.cat([outliers, inliers])
    contrasts = torch.cat([anchors, context_outliers, context_inliers])
    kinds = torch.cat([x.new_full((len(x),), kind) for x, kind in
                       ((outliers, 1.0), (inliers, 0.0), (context_outliers, 1.0), (context_inliers, 0.0))])  # fmt: skip
    # P(i) and N(i) as masks over anchors x contrasts, (2M, 4M) if each set has M pixels: no loop over anchors.
    same_kind = kinds[: len(anchors), None] == kinds[None]
    itself = torch.eye(len(anchors), len(contrasts), dtype=torch.bool, device=anchors.device)
    # Rows have length 1, so this is cosine / t.
    similarity = anchors @ contrasts.T / temperature
    # log(e^s / (e^s + sum_n e^n)) = -softplus(log sum_n e^n - s), which overflows at no temperature.
    others = similarity.masked_fill(same_kind, -torch.inf).logsumexp(1, keepdim=True)
    each = F.softplus(others - similarity)
    positive = same_kind & ~itself
    counts = positive.sum(1)
    # Without a negative the log-sum-exp is -inf and the loss 0, as if that anchor were learned perfectly.
    usable = (counts > 0) & ~same_kind.all(1)
    per_anchor = each.masked_fill(~(positive & usable[:, None]), 0).sum(1) / counts.clamp(min=1)
    return per_anchor.sum() / usable.sum().clamp(min=1)


def _entropy(logits: Tensor) -> Tensor:
    """Return the entropy of the softmax, in nats, (B, h, w)."""
    # Not p * log(p) of a softmax: that is 0 * -inf = NaN where p underflows.
    logs = logits.log_softmax(1)
    return -(logs.exp() * logs).sum(1)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Return the mean of ``values`` over ``where``; 0, with a gradient of 0, where no pixel is."""
    # Filled, not multiplied by the mask: 0 times an infinite loss is NaN.
    return values.masked_fill(~where, 0).sum() / where.sum().clamp(min=1)
