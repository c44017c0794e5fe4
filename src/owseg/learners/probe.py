"""Learning a class by a linear probe of the frozen feature pyramid: this project's own method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from owseg.scorers.mahalanobis import RelativeMahalanobis
from owseg.types import Output, resize

if TYPE_CHECKING:
    from owseg.knowledge import KnowledgeBase


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """One learned class: claims where ``w^T z + b > 0``, z the whitened pyramid (see ``RelativeMahalanobis``).

    ``weight`` is w (C,), ``bias`` b; the logit is interpolated to the picture before it is cut.
    """

    name: str
    weight: Tensor
    bias: float
    mahalanobis: RelativeMahalanobis

    @torch.no_grad()
    def claim(self, output: Output, size: tuple[int, int]) -> Tensor:
        """Return where the class is, (B, H, W) bool."""
        z = self.mahalanobis.whitened(output)
        logit = torch.einsum("c,bchw->bhw", self.weight.to(z.device), z) + self.bias
        return resize(logit[:, None], size)[:, 0] > 0

    def relabel(self, labels: Tensor, output: Output, label: int) -> Tensor:
        """Return ``labels`` with ``label`` where the class claims."""
        return labels.masked_fill(self.claim(output, (labels.shape[1], labels.shape[2])), label)

    def to_json(self) -> dict[str, Any]:
        """Return name and bias; the weight is in ``tensors``."""
        return {"kind": "probe", "name": self.name, "bias": self.bias}

    def tensors(self) -> dict[str, Tensor]:
        """Return the weight."""
        return {"weight": self.weight}

    @classmethod
    def restore(
        cls, value: dict[str, Any], tensors: Mapping[str, Tensor], network: Network, fitted: Joint | None
    ) -> LinearProbe:
        """Read what ``to_json`` and ``tensors`` gave; the space is that of the fitted scorers."""
        if fitted is None or tuple(tensors["weight"].shape) != (fitted.mahalanobis.channels,):
            raise OwsegError(f"the probe of {value['name']!r} does not fit the feature scorers beside it.")
        return cls(value["name"], tensors["weight"], value["bias"], fitted.mahalanobis)


@dataclass(frozen=True)
class Probe:
    """Learn a class by logistic regression on the whitened pyramid of the shots and their mirror images.

    A cell is positive where the mask covers more than half of it; all other cells that are not void are negative,
    whatever they show. With balanced weights ``s_i = n / (2 n_{y_i})`` the probe minimises

        |w|^2 / 2 + strength * sum_i s_i log(1 + exp(-y_i (w^T z_i + b))),   y_i = +1 or -1.

    z is white within classes, so the ridge shrinks w towards what the known classes vary least in. The problem is
    convex, and the old classes' weights are not touched: where the probe does not claim, nothing changes.
    """

    strength: float = 3e-3
    method = "probe"

    def __call__(self, kb: KnowledgeBase, name: str, shots: Sequence[Shot], look: Look) -> tuple[Increment, ...]:
        """Return the increments with the new probe; raise ``OwsegError`` without the fitted scorers."""
        from sklearn.linear_model import LogisticRegression

        if kb.fitted is None:
            raise OwsegError("a probe needs the fitted feature scorers, which this knowledge base does not have.")
        space = kb.fitted.mahalanobis
        cells, positive = [], []
        for view in (view for shot in shots for view in (shot, shot.mirrored())):
            z = space.whitened(look(view.image))[0]
            mask, elsewhere = (_cover(m, (z.shape[1], z.shape[2])) for m in (view.mask, view.elsewhere))
            shown = (mask > 0.5) | (elsewhere > 0.5)
            cells.append(z.flatten(1).T.cpu().numpy()[shown])
            positive.append(mask[shown] > 0.5)
        x, y = np.concatenate(cells), np.concatenate(positive)
        if not y.any() or y.all():
            what = "leaves nothing else to compare with" if y.any() else "covers half of no cell of the feature grid"
            raise OwsegError(f"the mask of {name} {what}; choose pictures that show it larger and with surroundings.")
        fit = LogisticRegression(C=self.strength, class_weight="balanced", max_iter=1000).fit(x, y)
        weight = torch.tensor(fit.coef_[0], dtype=torch.float32)
        return (*kb.increments, LinearProbe(name, weight, float(fit.intercept_[0]), space))


def _cover(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return the share of each cell that ``mask`` covers, flattened."""
    return F.adaptive_avg_pool2d(torch.from_numpy(mask)[None, None].float(), grid).flatten().numpy()
