"""Two witnesses heard together: how far features lie from all training data, and how unsure the classifier is."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from owseg.errors import OwsegError
from owseg.scorers.mahalanobis import RelativeMahalanobis
from owseg.scorers.metric import max_similarity
from owseg.scorers.softmax import max_logit
from owseg.types import Output, resize


class Joint(nn.Module):
    """``z(log min_k M_k) + z(u)``, z the standard score over known pixels.

    ``M_k`` is the squared Mahalanobis distance on the feature pyramid (see ``RelativeMahalanobis``): what the
    backbone sees. ``u`` is ``-max_t f_t`` with a prototype classifier, ``-max_t logit_t`` with a linear one: what the
    decoder makes of it. The first misses strange things made of known textures, the second strange things that
    resemble a class; they err in different places. The logarithm turns the heavy tail of ``M`` into that of a
    Student-t density, ``-log p ~ log(1 + M / nu)``, so that neither witness shouts the other down.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, mahalanobis: RelativeMahalanobis, metric: bool) -> None:
        super().__init__()
        self.mahalanobis, self.metric = mahalanobis, metric
        self.register_buffer("shift", torch.zeros(2))
        self.register_buffer("scale", torch.zeros(2))

    @torch.no_grad()
    def fit(self, batches: Iterable[tuple[Output, Tensor]]) -> Joint:
        """Take both witnesses' mean and standard deviation over known pixels; the Mahalanobis part is fitted before.

        Best of pictures that the network was not trained on. ``batches`` yields outputs and targets (B, H, W). Raises
        ``OwsegError`` if no pixel is labelled.
        """
        count, total, square = 0, torch.zeros(2).double(), torch.zeros(2).double()
        for output, target in batches:
            pair = self._witnesses(output)
            small = nn.functional.interpolate(target[:, None].float(), size=pair.shape[2:], mode="nearest-exact")
            known = pair.movedim(1, -1)[small[:, 0].to(pair.device) < self.mahalanobis.num_classes].double().cpu()
            count, total, square = count + len(known), total + known.sum(0), square + known.square().sum(0)
        if count == 0:
            raise OwsegError("no pixel is labelled with a known class; fit on pictures with truth.")
        mean = total / count
        self.shift.copy_(mean)
        self.scale.copy_((square / count - mean.square()).clamp(min=1e-12).sqrt())
        return self

    def forward(self, output: Output) -> Tensor:
        """Return the score (B, h, w) on the grid of the Mahalanobis score; 0 is an average known pixel."""
        if not self.scale.any():
            raise OwsegError("this scorer is not fitted; call fit, or load the state of one that is.")
        z = (self._witnesses(output) - self.shift.view(1, 2, 1, 1)) / self.scale.view(1, 2, 1, 1)
        return z.sum(1)

    def _witnesses(self, output: Output) -> Tensor:
        distance = self.mahalanobis.nearest(output).clamp(min=1e-6).log()
        unsure = max_similarity(output) if self.metric else max_logit(output)
        size = (distance.shape[-2], distance.shape[-1])
        return torch.stack([distance, resize(unsure[:, None], size)[:, 0]], 1)
