"""Learning a class by a linear probe of the frozen feature pyramid; the default method, and the project's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.increments.base import Increment
from owseg.increments.probe import LinearProbe, compete
from owseg.knowledge.base import KnowledgeBase
from owseg.learners._cells import cover, require_space
from owseg.types import Forward, Shot


@dataclass(frozen=True)
class Probe:
    """Learn a class by logistic regression on the whitened pyramid of the shots, at ``scales`` and mirrored.

    A cell is positive where the mask covers more than half of it; all other cells that are not void are negative,
    whatever their class. The probe minimises

        |w|^2 / 2 + strength / n * sum_i s_i log(1 + exp(-y_i (w^T z_i + b))),   y_i = +1 or -1,

    with weights ``s_i ~ n_{y_i}^-balance`` of mean 1, n_y the number of positive or of negative cells: at 1 both weigh
    the same, at 0 every cell does. One image shows little of how a class may look, so the fewer the shots, the more the
    class is favoured; by default ``balance = (1 + 1/m) / 2`` for m shots.

    z is the pyramid whitened by the known classes' covariance (see ``RelativeMahalanobis``), so the ridge leaves free
    what they vary least in; being linear, the whitening is folded into the weights. The problem is convex, and the
    network is not touched: where the probe does not predict its class, nothing changes.
    """

    strength: float = 100.0
    balance: float | None = None
    scales: tuple[float, ...] = (0.7, 1.0, 1.4)
    method = "probe"

    def __call__(self, kb: KnowledgeBase, name: str, shots: Sequence[Shot], forward: Forward) -> tuple[Increment, ...]:
        """Return the increments with the new probe; raise ``OwsegError`` without the fitted scorers."""
        # Imported here: scikit-learn takes long to import, and only this needs it.
        from sklearn.linear_model import LogisticRegression

        space = require_space(kb, "a probe")
        cells, positive = [], []
        views = [(v, scale) for shot in shots for scale in self.scales for v in (shot, shot.mirrored())]
        for view, scale in views:
            z = space.whitened(forward(view.image, scale))[0]
            inside, outside = (cover(m, (z.shape[1], z.shape[2])) for m in (view.positives, view.negatives))
            # Cells mostly of void are left out.
            annotated = (inside > 0.5) | (outside > 0.5)
            # (C, h, w) -> (n, C)
            cells.append(z.flatten(1).T.cpu().numpy()[annotated])
            positive.append(inside[annotated] > 0.5)
        x, y = np.concatenate(cells), np.concatenate(positive)
        if not y.any() or y.all():
            what = "leaves nothing else to compare with" if y.any() else "covers half of no cell of the feature grid"
            raise OwsegError(f"the mask of {name} {what}; choose images that show it larger and with surroundings.")
        balance = (1 + 1 / len(shots)) / 2 if self.balance is None else self.balance
        rarity = np.where(y, y.mean(), 1 - y.mean()) ** -balance
        # scikit-learn's C multiplies the sum of the losses, the strength their mean.
        fit = LogisticRegression(C=self.strength / len(y), max_iter=1000).fit(x, y, rarity / rarity.mean())
        weight, bias = space.unwhitened(torch.tensor(fit.coef_[0]), float(fit.intercept_[0]))
        return compete(kb.increments, LinearProbe(name, weight.float()[None], bias.float()[None], space.level))


CARDS = (
    Card(
        "probe",
        "a linear probe of the feature pyramid; the default",
        make=Probe,
        options={
            "strength": "of the data against the ridge",
            "balance": "0: every cell weighs the same, 1: positive and negative cells do",
            "scales": "factors by which the shots are resized, with commas",
        },
    ),
)
