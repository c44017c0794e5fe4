"""Standardised max logits: the largest logit, compared with its mean and deviation for the predicted class."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.scorers._features import labels_on
from owseg.scorers.base import FittedScorer
from owseg.types import Output

if TYPE_CHECKING:
    from owseg.models.network import Network


class StandardisedMaxLogit(FittedScorer):
    """``-(max_t logits_t - mu_c) / sigma_c`` with c the predicted class; Jung et al., ICCV 2021, Eq. 1-3.

    ``mu_c`` and ``sigma_c`` are mean and standard deviation of the largest logit over the pixels where c is predicted;
    a class that is predicted at fewer than two pixels has those of all pixels. The paper's further steps,
    ``suppress_boundaries`` and ``dilated_gaussian``, are in ``owseg.scorers.smoothing``.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes=num_classes)
        self.num_classes = num_classes
        self.register_buffer("mean", torch.zeros(num_classes))
        self.register_buffer("std", torch.zeros(num_classes))

    @torch.no_grad()
    def fit(
        self, train: Iterable[tuple[Output, Tensor]], held_out: Iterable[tuple[Output, Tensor]] | None = None
    ) -> StandardisedMaxLogit:
        """Compute the statistics over pixels whose target (B, H, W) is a known class, and return self.

        Pixels count whether predicted correctly or not; ``held_out`` is not used. Sums are in float64, so the split
        into batches does not matter. Raises ``OwsegError`` if no pixel is labelled or the logits are not finite.
        """
        # Count, sum and sum of squares of the largest logits, by predicted class.
        sums = torch.zeros(3, self.num_classes).double()
        for output, target in train:
            top, label = output.logits.float().max(1)
            known = labels_on(target, top.shape, self.num_classes).to(top.device) >= 0
            largest, label = top[known].double().cpu(), label[known].cpu()
            if not largest.isfinite().all():
                raise OwsegError("the logits hold NaN or infinite values; check the weights and the images.")
            for row, value in zip(sums, (torch.ones_like(largest), largest, largest.square()), strict=True):
                row.index_add_(0, label, value)
        if not sums[0].any():
            raise OwsegError("no pixel is labelled with a known class; fit on images with ground truth.")
        # (3, K): a class with fewer than two pixels has no deviation of its own.
        sums = sums.where(sums[0] > 1, sums.sum(1, keepdim=True))
        mean = sums[1] / sums[0]
        self.mean.copy_(mean)
        self.std.copy_((sums[2] / sums[0] - mean.square()).clamp(min=1e-12).sqrt())
        return self

    def forward(self, output: Output) -> Tensor:
        """Return the score (B, h, w) float32, in standard deviations; raise ``OwsegError`` before a fit."""
        self.require_fit(self.std)
        top, label = output.logits.float().max(1)
        # The paper's standardised max logit is high for known pixels; negated here.
        return (self.mean[label] - top) / self.std[label]


def _of(network: Network, num_classes: int = 0) -> StandardisedMaxLogit:
    return StandardisedMaxLogit(num_classes or network.num_classes)


CARDS = (
    Card(
        "sml",
        "largest logit, standardised by predicted class",
        make=_of,
        source="Jung et al., ICCV 2021, Eq. 1-3",
        facts={"needs": "fit"},
    ),
)
