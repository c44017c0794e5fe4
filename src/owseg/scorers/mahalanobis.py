"""The Mahalanobis distance on the backbone's feature pyramid, and the relative one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.scorers._features import cells, labelled_cells
from owseg.scorers.base import FittedScorer
from owseg.types import Output, Scorer

if TYPE_CHECKING:
    from owseg.models.network import Network


class RelativeMahalanobis(FittedScorer):
    """``min_k M_k - M_0``: how much farther a pixel is from the nearest class than from all classes together.

    ``M_k = (x - mu_k)^T S_w^-1 (x - mu_k)`` with the class means mu_k and the shared within-class covariance
    S_w; ``M_0 = (x - mu_0)^T S_0^-1 (x - mu_0)`` with the mean and covariance of all labelled features. x is
    the pyramid, every stage interpolated to the grid of stage ``level`` and concatenated: C = ``channels``
    features per cell. A class without a labelled pixel is never the nearest. Source: Lee et al., NeurIPS 2018
    (M_k); Ren et al., 2021, arXiv:2106.09022 (the difference). ``relative=False`` leaves M_0 out.

    Features are standardised over all labelled cells first, whatever the scales of the stages; then both
    covariances are shrunk towards the identity, ``(1 - s) S + s I`` with s = ``shrinkage``, which keeps them
    invertible. Raises ``OwsegError`` for a shrinkage outside (0, 1].
    """

    counts: Tensor
    centre: Tensor
    whiten_within: Tensor
    means: Tensor

    def __init__(
        self, channels: int, num_classes: int, level: int = 1, shrinkage: float = 0.2, relative: bool = True
    ) -> None:
        super().__init__(
            channels=channels, num_classes=num_classes, level=level, shrinkage=shrinkage, relative=relative
        )
        # The default, 0.2, was chosen on CamVid val (docs/results/camvid.md).
        if not 0 < shrinkage <= 1:
            raise OwsegError(f"the shrinkage is above 0 and at most 1, not {shrinkage}.")
        self.channels, self.num_classes, self.level = channels, num_classes, level
        self.shrinkage, self.relative = shrinkage, relative
        # Zeros mean "not fitted": a state that is loaded brings its own counts.
        self.register_buffer("counts", torch.zeros(num_classes))
        self.register_buffer("centre", torch.zeros(channels))
        self.register_buffer("whiten_within", torch.zeros(channels, channels))
        self.register_buffer("means", torch.zeros(num_classes, channels))
        self._gram: Tensor | None = None

    @torch.no_grad()
    def fit(
        self, train: Iterable[tuple[Output, Tensor]], held_out: Iterable[tuple[Output, Tensor]] | None = None
    ) -> RelativeMahalanobis:
        """Fit to outputs and their targets (B, H, W) of class ids, and return self; ``held_out`` is not used.

        A cell has the label of the pixel at its centre. Ids beyond the ``num_classes`` classes (void,
        unknown, classes learned later) are left out. Sums are in float64, so the split into batches does not
        matter. Raises ``OwsegError`` if no pixel is labelled, features are not finite, or the pyramid does
        not fit.
        """
        count = torch.zeros(self.num_classes).double()
        total = torch.zeros(self.num_classes, self.channels).double()
        square = torch.zeros(self.channels, self.channels).double()
        for output, target in train:
            x, labels = labelled_cells(output, target, self.level, self.channels, self.num_classes)
            x = x.double()
            count, total, square = count.to(x.device), total.to(x.device), square.to(x.device)
            # (n, K): sums by class become one matrix product.
            member = F.one_hot(labels, self.num_classes).double()
            count += member.sum(0)
            total += member.T @ x
            square += x.T @ x
        n = count.sum()
        if n == 0:
            raise OwsegError("no pixel is labelled with a known class; fit on images with ground truth.")
        # (K, C); a class without a cell gets mean 0 and is masked by its count when scoring.
        means = total / count.clamp(min=1)[:, None]
        centre = total.sum(0) / n
        # S_w = (sum_i x_i x_i^T - sum_k n_k mu_k mu_k^T) / n, S_0 = sum_i x_i x_i^T / n - mu_0 mu_0^T.
        within = (square - (means * count[:, None]).T @ means) / n
        overall = square / n - centre.outer(centre)
        # A constant channel has only rounding errors, which must not be scaled up to unit variance.
        varies = overall.diagonal() > 1e-12 * square.diagonal() / n
        std = overall.diagonal().clamp(min=0).sqrt().where(varies, 1)
        # Both are scaled by the overall std, so that shrinking adds the same identity to either (see ``_between``).
        whiten = _whitening(within, std, self.shrinkage)
        self.counts.copy_(count)
        self.centre.copy_(centre)
        self.whiten_within.copy_(whiten)
        # Stored centred and whitened: scoring needs no further product with them than z mu^T.
        self.means.copy_((means - centre) @ whiten.T)
        self._gram = None
        return self

    def forward(self, output: Output) -> Tensor:
        """Return the score (B, h, w) float32 on the grid of stage ``level``.

        It is a squared distance or, if ``relative``, a difference of two. Raises ``OwsegError`` before a fit and
        for a pyramid of other channels.
        """
        nearest, overall = self.distances(output)
        return nearest - overall if self.relative else nearest

    def parts(self) -> Mapping[str, Scorer]:
        """Return the distance without M_0; it comes with the difference, which tells less in another place."""
        return {"mahalanobis_absolute": self.absolute} if self.relative else {}

    def absolute(self, output: Output) -> Tensor:
        """Return ``min_k M_k``, (B, h, w): the score of Lee et al., NeurIPS 2018."""
        return self.distances(output)[0]

    def distances(self, output: Output) -> tuple[Tensor, Tensor]:
        """Return ``min_k M_k`` and ``M_0``, each (B, h, w)."""
        x, shape = self._centred(output)
        z = product(x, self.whiten_within, half=x.is_cuda)
        length, along = z.square().sum(1), z @ self.means.T
        # |z - m|^2 = |z|^2 - 2 z.m + |m|^2: one product for all classes. x is centred, so little cancels.
        to_means = self.means.square().sum(1) - 2 * along
        nearest = length + to_means.masked_fill(self.counts == 0, torch.inf).amin(1)
        overall = length - (along @ self._between() * along).sum(1)
        return nearest.view(shape), overall.view(shape)

    def whitened(self, output: Output) -> Tensor:
        """Return the features (B, C, h, w) in which squared Euclidean distances to class means are the ``M_k``."""
        x, shape = self._centred(output)
        return product(x, self.whiten_within, half=x.is_cuda).view(*shape, self.channels).permute(0, 3, 1, 2)

    def whiten(self, x: Tensor) -> Tensor:
        """Return features (n, C) of the pyramid in the space of ``whitened``, (n, C) float32."""
        self.require_fit(self.counts)
        return product(x - self.centre, self.whiten_within, half=x.is_cuda)

    def unwhitened(self, weight: Tensor, bias: float) -> tuple[Tensor, Tensor]:
        """Return (w (C,), b ()), float64, for which ``w^T x + b = weight^T z + bias``: x the pyramid, z whitened."""
        raw = self.whiten_within.double().T @ weight.to(self.whiten_within.device).double()
        return raw, bias - raw @ self.centre.double()

    def _centred(self, output: Output) -> tuple[Tensor, torch.Size]:
        self.require_fit(self.counts)
        x = cells(output, self.level, self.channels)
        # (B * h * w, C)
        return x.flatten(0, 2).float() - self.centre, x.shape[:3]

    def _between(self) -> Tensor:
        """Return G (K, K) with ``M_0 = |z|^2 - (m z)^T G (m z)``: m the whitened means, z a whitened feature.

        The covariance of all features is that within classes and that of the class means, ``S_0 = S_w + sum_k p_k mu_k
        mu_k^T``. Whitened and shrunk it is ``I + m^T D m`` with ``D = (1 - s) diag(p)``, of which Woodbury's identity
        gives the inverse: ``G = D^1/2 (I + D^1/2 m m^T D^1/2)^-1 D^1/2``. So M_0 costs no product of C x C.
        """
        if self._gram is not None and self._gram.device == self.means.device:
            return self._gram
        means = self.means.double()
        root = ((1 - self.shrinkage) * self.counts.double() / self.counts.double().sum()).sqrt()
        inner = torch.eye(len(root), dtype=root.dtype, device=root.device) + root.outer(root) * (means @ means.T)
        self._gram = (root.outer(root) * torch.linalg.inv(inner)).float()
        return self._gram

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Knowledge bases of 0.1.0 have it, though it follows from the others: kept, so that their fingerprints stay.
        if prefix + "whiten_total" in state_dict:
            self.register_buffer("whiten_total", torch.zeros_like(self.whiten_within))
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self._gram = None


STRIPS = 4
"""A lower triangular matrix is multiplied in so many strips of rows, each without the columns in which it is zero."""


def product(x: Tensor, lower: Tensor, half: bool = False) -> Tensor:
    """Return ``x L^T`` (n, C) float32 of (n, C) and a lower triangular L (C, C).

    With ``half`` it is computed from 16 bits, in which GPUs are fast. Each channel of x is multiplied, and that of L
    divided, by the largest of its entries in L, which changes nothing but keeps features of any scale in the range of
    16 bits. Relative errors are then about 1e-3.
    """
    if not half:
        step = -(-len(lower) // STRIPS)
        ends = range(step, len(lower) + step, step)
        return torch.cat([F.linear(x[:, :end], lower[end - step : end, :end]) for end in ends], 1)
    largest, limit = lower.abs().amax(0).clamp(min=torch.finfo(lower.dtype).tiny), torch.finfo(torch.half).max
    scaled = (x * largest).clamp(-limit, limit)
    # What is too large becomes the largest number, not infinity, of which differences are NaN.
    return (scaled.half() @ (lower / largest).half().T).clamp(-limit, limit).float()


def _whitening(covariance: Tensor, std: Tensor, shrinkage: float) -> Tensor:
    """Return W, lower triangular, with ``|W x|^2 = (x/std)^T S^-1 (x/std)``: S the standardised, shrunk covariance."""
    identity = torch.eye(len(std), dtype=std.dtype, device=std.device)
    shrunk = (1 - shrinkage) * covariance / std.outer(std) + shrinkage * identity
    # With S = L L^T, |L^-1 v|^2 = v^T S^-1 v: a sum of squares, which rounding cannot make negative.
    inverse: Tensor = torch.linalg.solve_triangular(torch.linalg.cholesky(shrunk), identity, upper=False)
    return inverse / std


def mahalanobis_of(
    network: Network, level: int = 1, shrinkage: float = 0.2, relative: bool = True, **sizes: int
) -> RelativeMahalanobis:
    """Return one for the pyramid and the classes of ``network``, or for the ``sizes`` of a stored one."""
    sizes = {"channels": sum(network.backbone.channels), "num_classes": network.num_classes, **sizes}
    return RelativeMahalanobis(**sizes, level=level, shrinkage=shrinkage, relative=relative)


CARDS = (
    Card(
        "mahalanobis",
        "relative Mahalanobis distance of the feature pyramid",
        make=mahalanobis_of,
        source="Lee et al., NeurIPS 2018; Ren et al., arXiv:2106.09022",
        options={
            "level": "the stage on whose grid the distance is computed",
            "shrinkage": "of the covariances towards the identity, in (0, 1]",
        },
        facts={"needs": "fit"},
    ),
    Card(
        "mahalanobis_absolute",
        "Mahalanobis distance of the feature pyramid to the nearest class",
        make=partial(mahalanobis_of, relative=False),
        source="Lee et al., NeurIPS 2018",
        options={
            "level": "the stage on whose grid the distance is computed",
            "shrinkage": "of the covariances towards the identity, in (0, 1]",
        },
        facts={"needs": "fit"},
    ),
)
