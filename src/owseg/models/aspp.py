"""Dense atrous spatial pyramid pooling, which several published networks and RPL's residual have."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from owseg.models.ops import check_batch, conv_bn


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al., 2017): (B, inside, h, w) -> (B, (n + 2) width, h, w).

    A 1x1 convolution, a 3x3 at each of n ``rates`` (dilations) and the mean over the image, projected by a 1x1; each
    with batch normalisation and ReLU, all concatenated in this order.
    """

    def __init__(self, inside: int, width: int = 256, rates: Sequence[int] = (12, 24, 36)) -> None:
        super().__init__()
        self.size = (inside, width, tuple(rates))
        self.branches = nn.ModuleList([conv_bn(inside, width), *(conv_bn(inside, width, 3, rate) for rate in rates)])
        self.pool = conv_bn(inside, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the concatenated maps; raise ``OwsegError`` for one image in training."""
        check_batch(self.pool[1], len(x))
        pooled = self.pool(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        return torch.cat([*(branch(x) for branch in self.branches), pooled], 1)
