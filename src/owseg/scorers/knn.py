"""The distance to the k-th nearest known feature: a scorer that stores examples instead of fitting a distribution."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.models.traced import is_traced
from owseg.scorers._features import cells, labelled_cells
from owseg.scorers.base import FittedScorer
from owseg.types import Output

if TYPE_CHECKING:
    from owseg.models.network import Network

CHUNK = 4096
"""How many cells are compared with the whole bank at once; it bounds the memory."""


class KNearest(FittedScorer):
    """``|z - z_(k)|``, in [0, 2]: the distance from a pixel's features to their k-th nearest neighbour in a bank.

    z is the pyramid on the grid of stage ``level`` (C = ``channels`` features per cell), standardised by the bank's
    mean and standard deviation, whatever the scales of the stages, and divided by its length. The bank holds at most
    ``size`` cells of known classes, ``size // num_classes`` of each drawn with ``seed``, so that a rare class is no
    anomaly. It is rounded to 16 bits, in which it is stored. Source: Sun et al., ICML 2022 (who draw from balanced
    data, for whole images). Raises ``OwsegError`` for a ``k`` that is not from 1 to the cells kept of a class.
    """

    count: Tensor
    shift: Tensor
    scale: Tensor
    bank: Tensor

    def __init__(
        self, channels: int, num_classes: int, level: int = 1, k: int = 3, size: int = 4096, seed: int = 0
    ) -> None:
        super().__init__(channels=channels, num_classes=num_classes, level=level, k=k, size=size, seed=seed)
        if not 1 <= k <= size // num_classes:
            raise OwsegError(f"k is from 1 to the {size // num_classes} cells kept of a class, not {k}.")
        self.channels, self.num_classes, self.level = channels, num_classes, level
        self.k, self.size, self.seed, self._kept = k, size, seed, 0
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.register_buffer("shift", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("bank", torch.zeros(size, channels))

    @torch.no_grad()
    def fit(
        self, train: Iterable[tuple[Output, Tensor]], held_out: Iterable[tuple[Output, Tensor]] | None = None
    ) -> KNearest:
        """Draw the bank from outputs and their targets (B, H, W) of class ids, and return self.

        ``held_out`` is not used. The draw depends on the seed and the order of the images, not on their split into
        batches; only the bank and one batch are in memory. Raises ``OwsegError`` if fewer than k cells are labelled,
        features are not finite, or the pyramid does not fit.
        """
        rng, each = np.random.default_rng(self.seed), self.size // self.num_classes
        kept, kept_labels, kept_keys = torch.zeros(0, self.channels), torch.zeros(0).long(), torch.zeros(0).double()
        for output, target in train:
            x, labels = labelled_cells(output, target, self.level, self.channels, self.num_classes)
            # Each cell draws a key once; of each class the cells with the least keys stay: a uniform draw in one pass.
            keys = torch.cat([kept_keys, torch.from_numpy(rng.random(len(x)))])
            x, labels = torch.cat([kept, x.float().cpu()]), torch.cat([kept_labels, labels.cpu()])
            own = [(labels == c).nonzero()[:, 0] for c in range(self.num_classes)]
            stay = torch.cat([i[keys[i].argsort()[:each]] for i in own])
            kept, kept_labels, kept_keys = x[stay], labels[stay], keys[stay]
        if len(kept) < self.k:
            raise OwsegError(f"{len(kept)} cells are labelled with a known class; at least {self.k} are needed.")
        # Statistics of the bank, so every class has the same say in them; of all cells, road and sky would decide.
        std, shift = torch.std_mean(kept.double(), 0, correction=0)
        self.shift.copy_(shift)
        # A constant channel has only rounding errors, which must not be scaled up to unit variance.
        self.scale.copy_(std.where(std > 1e-6 * (shift.abs() + 1e-6), 1))
        # The buffer keeps its full size, whatever was found, so that a state of the same config always fits.
        self.bank.zero_()[: len(kept)] = self._normal(kept.to(self.bank.device)).half().float()
        self.count.fill_(len(kept))
        self._kept = len(kept)
        return self

    def forward(self, output: Output) -> Tensor:
        """Return the score (B, h, w) float32 on the grid of stage ``level``; raise ``OwsegError`` before a fit."""
        self.require_fit(self.count)
        self._kept = self._kept or int(self.count)  # read once, as a GPU would have to be waited for each time
        # (B, h, w, C)
        x = cells(output, self.level, self.channels)
        bank = self.bank[: self._kept]
        # |z - b|^2 = 1 + |b|^2 - 2 z.b as |z| = 1; |b| is not exactly 1 after rounding to 16 bits.
        length = 1 + bank.square().sum(1)
        parts = [
            # (CHUNK, size): only the k-th smallest of each row leaves the loop.
            torch.addmm(length, z, bank.T, alpha=-2).topk(self.k, largest=False).values[:, -1]
            for z in _chunks(self._normal(x.flatten(0, 2).float()))
        ]
        # At a stored example rounding may leave a negative square.
        return torch.cat(parts).clamp(min=0).sqrt().view(x.shape[:3])

    def _normal(self, x: Tensor) -> Tensor:
        return F.normalize((x - self.shift) / self.scale, dim=1)


def _chunks(z: Tensor) -> Sequence[Tensor]:
    """Return z (n, C) in parts of ``CHUNK`` rows; a graph, whose number of parts would be that of one size, has one."""
    return [z] if is_traced() else torch.split(z, CHUNK)


def _of(network: Network, level: int = 1, k: int = 3, size: int = 4096, seed: int = 0, **sizes: int) -> KNearest:
    """Return one for the pyramid and the classes of ``network``, or for the ``sizes`` of a stored one."""
    sizes = {"channels": sum(network.backbone.channels), "num_classes": network.num_classes, **sizes}
    return KNearest(**sizes, level=level, k=k, size=size, seed=seed)


CARDS = (
    Card(
        "knn",
        "distance to the k-th nearest known feature",
        make=_of,
        source="Sun et al., ICML 2022",
        options={
            "k": "which neighbour",
            "size": "the number of cells to keep, of all classes together",
            "seed": "the seed of the draw of these cells",
            "level": "the stage on whose grid the distance is computed",
        },
        facts={"needs": "fit"},
    ),
)
