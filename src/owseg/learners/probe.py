"""Learning a class by a linear probe of the frozen feature pyramid: this project's own method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from owseg.errors import OwsegError
from owseg.learners.increment import Increment
from owseg.learners.shots import Look, Shot
from owseg.models.network import Network
from owseg.scorers.joint import Joint
from owseg.types import Output, resize

if TYPE_CHECKING:
    from owseg.knowledge import KnowledgeBase


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """One learned class: claims where its logit ``w^T x + b`` is positive and above that of every other probe.

    x is the backbone's pyramid on the grid of stage ``level``. ``weights`` (1 + R, C) and ``biases`` (1 + R,) are those
    of the class and of its R rivals, the other classes learned by probes, before or after. A 1x1 convolution commutes
    with interpolation, so each stage is projected where it is, and one channel is interpolated.
    """

    name: str
    weights: Tensor
    biases: Tensor
    level: int

    @torch.no_grad()
    def claim(self, output: Output, size: tuple[int, int]) -> Tensor:
        """Return where the class is, (B, H, W) bool; logits are interpolated to the picture before they are cut."""
        grid = (output.features[self.level].shape[-2], output.features[self.level].shape[-1])
        weights = self.weights.to(output.features[0].device)
        stages = zip(output.features, weights.split([f.shape[1] for f in output.features], 1), strict=True)
        logits = sum(resize(F.conv2d(f.float(), w[:, :, None, None]), grid) for f, w in stages)
        full = resize(logits + self.biases.to(weights.device).view(1, -1, 1, 1), size)
        own = full[:, 0]
        return (own > 0) & (own > full[:, 1:].amax(1) if full.shape[1] > 1 else True)

    def relabel(self, labels: Tensor, output: Output, label: int) -> Tensor:
        """Return ``labels`` with ``label`` where the class claims."""
        return labels.masked_fill(self.claim(output, (labels.shape[1], labels.shape[2])), label)

    def against(self, other: LinearProbe) -> LinearProbe:
        """Return the same class with one rival more."""
        weights, biases = torch.cat([self.weights, other.weights[:1]]), torch.cat([self.biases, other.biases[:1]])
        return replace(self, weights=weights, biases=biases)

    def to_json(self) -> dict[str, Any]:
        """Return name and level; the rest is in ``tensors``."""
        return {"kind": "probe", "name": self.name, "level": self.level}

    def tensors(self) -> dict[str, Tensor]:
        """Return weights and biases."""
        return {"weights": self.weights, "biases": self.biases}

    @classmethod
    def restore(
        cls, value: dict[str, Any], tensors: Mapping[str, Tensor], network: Network, fitted: Joint | None
    ) -> LinearProbe:
        """Read what ``to_json`` and ``tensors`` gave."""
        weights, biases = tensors["weights"], tensors["biases"]
        if weights.shape != (len(biases), sum(network.backbone.channels)):
            raise OwsegError(f"the probe of {value['name']!r} does not fit the backbone beside it.")
        return cls(value["name"], weights, biases, value["level"])


@dataclass(frozen=True)
class Probe:
    """Learn a class by logistic regression on the whitened pyramid of the shots, at ``scales`` and in the mirror.

    A cell is positive where the mask covers more than half of it; all other cells that are not void are negative,
    whatever they show. The probe minimises

        |w|^2 / 2 + strength / n * sum_i s_i log(1 + exp(-y_i (w^T z_i + b))),   y_i = +1 or -1,

    with weights ``s_i ~ n_{y_i}^-balance`` of mean 1, n_y the cells of a side: at 1 both sides weigh the same, at 0
    every cell does. One picture tells little of how a class may look, so the less is shown the more the class must
    be favoured; by default ``balance = (1 + 1/m) / 2`` for m shots.

    z is the pyramid whitened by the known classes' covariance (see ``RelativeMahalanobis``), so the ridge leaves free
    what they vary least in; being linear, the whitening is folded into the weights. The problem is convex, and the
    network is not touched: where the probe does not claim, nothing changes.
    """

    strength: float = 100.0
    balance: float | None = None
    scales: tuple[float, ...] = (0.7, 1.0, 1.4)
    method = "probe"

    def __call__(self, kb: KnowledgeBase, name: str, shots: Sequence[Shot], look: Look) -> tuple[Increment, ...]:
        """Return the increments with the new probe; raise ``OwsegError`` without the fitted scorers."""
        from sklearn.linear_model import LogisticRegression

        if kb.fitted is None:
            raise OwsegError(
                "a probe needs the feature scorers; fit them first: owseg fit KB --data SET --scorers joint."
            )
        space = kb.fitted.mahalanobis
        cells, positive = [], []
        for view in (view for s in shots for f in self.scales for view in (s.scaled(f), s.scaled(f).mirrored())):
            z = space.whitened(look(view.image))[0]
            mask, elsewhere = (_cover(m, (z.shape[1], z.shape[2])) for m in (view.mask, view.elsewhere))
            shown = (mask > 0.5) | (elsewhere > 0.5)
            cells.append(z.flatten(1).T.cpu().numpy()[shown])
            positive.append(mask[shown] > 0.5)
        x, y = np.concatenate(cells), np.concatenate(positive)
        if not y.any() or y.all():
            what = "leaves nothing else to compare with" if y.any() else "covers half of no cell of the feature grid"
            raise OwsegError(f"the mask of {name} {what}; choose pictures that show it larger and with surroundings.")
        balance = (1 + 1 / len(shots)) / 2 if self.balance is None else self.balance
        rarity = np.where(y, y.mean(), 1 - y.mean()) ** -balance
        fit = LogisticRegression(C=self.strength / len(y), max_iter=1000).fit(x, y, rarity / rarity.mean())
        weight, bias = space.unwhitened(torch.tensor(fit.coef_[0]), float(fit.intercept_[0]))
        made = LinearProbe(name, weight.float()[None], bias.float()[None], space.level)
        old = tuple(i.against(made) if isinstance(i, LinearProbe) else i for i in kb.increments)
        for rival in kb.increments:
            made = made.against(rival) if isinstance(rival, LinearProbe) else made
        return (*old, made)


def _cover(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return the share of each cell that ``mask`` covers, flattened."""
    return F.adaptive_avg_pool2d(torch.from_numpy(mask)[None, None].float(), grid).flatten().numpy()
