"""Three witnesses heard together: two of how strange a pixel's features are, one of how unsure the decoder is."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from owseg.errors import OwsegError
from owseg.scorers.mahalanobis import RelativeMahalanobis
from owseg.scorers.metric import max_similarity
from owseg.scorers.softmax import max_logit
from owseg.types import Output, resize

WEIGHTS = (1.0, 1.0, 0.5)
"""How loud each witness is."""


class Joint(nn.Module):
    """``z(log min_k M_k) + z(u) + z(min_k M_k - M_0) / 2``, z the standard score over known pixels.

    ``M_k`` is the squared Mahalanobis distance to class k on the feature pyramid and ``M_0`` that to all classes
    together (see ``RelativeMahalanobis``): what the backbone sees. ``u`` is ``-max_t f_t`` with a prototype
    classifier, ``-max_t logit_t`` with a linear one: what the decoder makes of it. The first finds what lies far
    from all training data, the last what lies far from every class and yet near the middle of them all, the second
    what resembles no class; they err in different places. The logarithm turns the heavy tail of ``M`` into that of a
    Student-t density, ``-log p ~ log(1 + M / nu)``, so that no witness shouts the others down. The form and the
    half were chosen on CamVid val and on a drive left out of train (see docs/results.md).
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, mahalanobis: RelativeMahalanobis, metric: bool) -> None:
        super().__init__()
        self.mahalanobis, self.metric = mahalanobis, metric
        self.register_buffer("shift", torch.zeros(len(WEIGHTS)))
        self.register_buffer("scale", torch.zeros(len(WEIGHTS)))

    @torch.no_grad()
    def fit(self, batches: Iterable[tuple[Output, Tensor]]) -> Joint:
        """Take the witnesses' mean and standard deviation over known pixels; the Mahalanobis part is fitted before.

        Best of pictures that the network was not trained on. ``batches`` yields outputs and targets (B, H, W). Raises
        ``OwsegError`` if no pixel is labelled.
        """
        count, total, square = 0, *torch.zeros(2, len(WEIGHTS)).double()
        for output, target in batches:
            heard = self._witnesses(output)
            small = nn.functional.interpolate(target[:, None].float(), size=heard.shape[2:], mode="nearest-exact")
            known = heard.movedim(1, -1)[small[:, 0].to(heard.device) < self.mahalanobis.num_classes].double().cpu()
            count, total, square = count + len(known), total + known.sum(0), square + known.square().sum(0)
        if count == 0:
            raise OwsegError("no pixel is labelled with a known class; fit on pictures with truth.")
        mean = total / count
        self.shift.copy_(mean)
        self.scale.copy_((square / count - mean.square()).clamp(min=1e-12).sqrt())
        return self

    def forward(self, output: Output) -> Tensor:
        """Return the score (B, h, w) on the grid of the Mahalanobis score; 0 is an average known pixel."""
        z = self.standard(output)
        return (z * z.new_tensor(WEIGHTS).view(1, -1, 1, 1)).sum(1)

    def standard(self, output: Output) -> Tensor:
        """Return the witnesses' standard scores (B, 3, h, w), in the order of ``WEIGHTS``."""
        if not self.scale.any():
            raise OwsegError("this scorer is not fitted; call fit, or load the state of one that is.")
        return (self._witnesses(output) - self.shift.view(1, -1, 1, 1)) / self.scale.view(1, -1, 1, 1)

    def _witnesses(self, output: Output) -> Tensor:
        nearest, overall = self.mahalanobis.distances(output)
        unsure = max_similarity(output) if self.metric else max_logit(output)
        size = (nearest.shape[-2], nearest.shape[-1])
        unsure = resize(unsure[:, None], size)[:, 0]
        return torch.stack([nearest.clamp(min=1e-6).log(), unsure, nearest - overall], 1)
