"""The negative class of a mask classifier: one further row of its class layer (UNO), which alone is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from owseg.models.classifiers import MaskClassifier
from owseg.models.network import Network
from owseg.models.ops import size_of
from owseg.models.published.mask_classifiers import MaskDecoder
from owseg.training.pasting import masks_on

NO_OBJECT = 0.1
"""What a query that shows nothing weighs in the loss; any other weighs 1 (Cheng et al., CVPR 2022)."""

COSTS = (2.0, 5.0, 5.0)
"""The weights of class, cross-entropy and Dice where objects are matched with queries (Cheng et al., CVPR 2022)."""


def row_of(network: Network) -> nn.Linear:
    """Return an untrained row for the class layer of ``network``: weight 0 and bias 0, as in UNO."""
    return _decoder(network).row()


def in_place(network: Network, row: nn.Linear) -> Network:
    """Return ``network`` itself with ``row`` as its negative class, in place of one that was there."""
    _decoder(network).negative = row
    network.classifier = MaskClassifier(network.num_classes, with_negative=True)
    return network


def mean_row(row: nn.Linear, members: Sequence[nn.Module]) -> nn.Linear:
    """Return ``row`` with the mean of the weights of the members, so that its logit is the mean of theirs."""
    states = [member.state_dict() for member in members]
    row.load_state_dict({name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]})
    return row


class NegativeRowObjective(nn.Module):
    """The cross-entropy of queries that are of a pasted object, or are what the frozen network says.

    Each object is one mask target, to which the query is matched that fits it best (Cheng et al., CVPR 2022). With n
    the logit of the negative class and x those of the K classes and "no object", ``p = sigmoid(n - log sum_k exp x_k)``
    is its probability among all. The loss is the weighted mean over queries of ``-log p`` of those that are matched,
    and ``-log(1 - p)`` of others: that is the cross-entropy with the network's own distribution, but for a constant, as
    only n is trained. A query that was "no object" and is not matched weighs ``NO_OBJECT``, others 1. The ``network``
    is read and never changed.
    """

    def __init__(self, network: Network, learns: nn.Linear) -> None:
        super().__init__()
        self.learns = learns
        self.frozen = [network]  # in a list, so that it is no part of what is trained, moved or set to training

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of images (B, 3, H, W) with outliers pasted into them.

        Targets (B, H, W) long are UNKNOWN on outliers, IGNORE where void, anything else on inliers.
        """
        network = self.frozen[0]
        with torch.no_grad():
            queries, classes, masks = (part.float() for part in _decoder(network).queries(network.encode(images)))
        logit = self.learns(queries)[..., 0].float() - classes.logsumexp(-1)
        outlier, inlier = masks_on(targets, size_of(masks))
        wanted = torch.zeros_like(logit)
        for i, objects in enumerate(map(objects_in, outlier)):
            wanted[i, matched(logit[i].detach().sigmoid(), masks[i], objects, outlier[i] | inlier[i])] = 1
        empty = (classes.argmax(-1) == classes.shape[-1] - 1) & (wanted == 0)
        weights = torch.where(empty, NO_OBJECT, 1.0)
        return F.binary_cross_entropy_with_logits(logit, wanted, weights, reduction="sum") / weights.sum()


def objects_in(outlier: Tensor) -> Tensor:
    """Return the connected parts of a mask (h, w) bool, (N, h, w) bool."""
    numbered, count = ndimage.label(outlier.cpu().numpy())
    return torch.from_numpy(numbered == np.arange(1, count + 1)[:, None, None]).to(outlier.device)


def matched(probability: Tensor, masks: Tensor, objects: Tensor, valid: Tensor) -> list[int]:
    """Return the query that each of N objects is matched with, or of Q < N objects the Q queries, at the least cost.

    ``probability`` (Q,) is that of the negative class, ``masks`` (Q, h, w) are logits, ``objects`` (N, h, w) bool; void
    pixels, which are not ``valid`` (h, w), do not count. The cost is ``-2 p + 5 CE + 5 Dice``, CE a mean over pixels.
    """
    if not len(objects):
        return []
    x, y = masks[:, valid], objects[:, valid].to(masks.dtype)  # (Q, n), (N, n)
    positive, negative = F.softplus(-x), F.softplus(x)
    entropy = (positive @ y.T + negative @ (1 - y).T) / max(1, x.shape[1])
    share = x.sigmoid()
    dice = 1 - (2 * share @ y.T + 1) / (share.sum(1)[:, None] + y.sum(1) + 1)
    cost = -COSTS[0] * probability[:, None] + COSTS[1] * entropy + COSTS[2] * dice
    return [int(q) for q in linear_sum_assignment(cost.cpu().numpy())[0]]


def _decoder(network: Network) -> MaskDecoder:
    assert isinstance(network.decoder, MaskDecoder)
    return network.decoder
