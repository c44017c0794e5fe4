"""Learning a class by a linear probe of the frozen feature pyramid; the default method, and the project's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch

from owseg._registry import Card
from owseg.errors import OwsegError, check_numbers
from owseg.increments.base import Increment
from owseg.increments.probe import LinearProbe, compete
from owseg.knowledge.base import KnowledgeBase
from owseg.learners._cells import cover, require_space
from owseg.models.cache import pyramids
from owseg.models.over_images import threads_of
from owseg.models.threads import in_threads
from owseg.scorers._features import cells
from owseg.scorers.mahalanobis import RelativeMahalanobis
from owseg.types import Forward, Shot

MOST_CELLS = 20_000
"""Of all views together at most so many cells are fitted to: half of them positive, half negative."""

View = tuple[Shot, float, bool]
"""A shot, the factor by which its image is resized, and whether it is mirrored."""

Cells = tuple[torch.Tensor, np.ndarray]
"""The features (n, C) of cells, and which are positive (n,)."""


@dataclass(frozen=True)
class Probe:
    """Learn a class by logistic regression on the whitened pyramid of the shots, at ``scales`` and mirrored.

    A cell is positive where the mask covers more than half of it; all other cells that are not void are negative,
    whatever their class. The probe minimises

        |w|^2 / 2 + strength / n * sum_i s_i log(1 + exp(-y_i (w^T z_i + b))),   y_i = +1 or -1,

    with weights ``s_i ~ n_{y_i}^-balance`` of mean 1, n_y the number of positive or of negative cells: at 1 both weigh
    the same, at 0 every cell does. By default ``balance = (1 + 1/m) / 2`` for m shots that show the class.

    z is the pyramid whitened by the known classes' covariance (see ``RelativeMahalanobis``), so the ridge leaves free
    what they vary least in; being linear, the whitening is folded into the weights. The problem is convex, and the
    network is not touched: where the probe does not predict its class, nothing changes.

    A pixel is of the class where ``w^T z + b + favour / sqrt(m)`` is positive. The last term is for what few shots do
    not show: on other images of the class w^T z is lower than on the shots, and the more so the fewer there are.

    ``level`` is the stage on whose grid the cells are, by default that of the whitening.

    The more shots there are, the fewer views each has: about ``views`` in all, one of each at least, and no more than
    sizes and mirror give. Of all views at most ``MOST_CELLS`` cells count, drawn at random by a fixed seed, for as many
    as they stand for. So time and memory grow slowly with the shots. Raises ``OwsegError`` for what cannot be fitted.
    """

    strength: float = 50.0
    balance: float | None = None
    scales: tuple[float, ...] = (0.7, 1.0, 1.4)
    favour: float = 1.5
    level: int | None = None
    views: int = 10
    method = "probe"

    def __post_init__(self) -> None:
        check_numbers(self, {"balance": 0, "views": 1}, ("strength", "scales"))

    def __call__(self, kb: KnowledgeBase, name: str, shots: Sequence[Shot], forward: Forward) -> tuple[Increment, ...]:
        """Return the increments with the new probe; raise ``OwsegError`` without the fitted scorers, or the stage."""
        # Imported here: scikit-learn takes long to import, and only this needs it.
        from sklearn.linear_model import LogisticRegression

        space, encode = require_space(kb, "a probe"), pyramids(forward)
        level, stages = space.level if self.level is None else self.level, len(kb.network.backbone.channels)
        if not 0 <= level < stages:
            raise OwsegError(f"there is no stage {level}; the pyramid has the stages 0 to {stages - 1}.")
        drawn = list(self._cells(shots, partial(_annotated, encode, level, space.channels), space, threads_of(forward)))
        x, y, counts = (np.concatenate(part) for part in zip(*drawn, strict=True))
        if not y.any() or y.all():
            what = "leaves nothing else to compare with" if y.any() else "covers half of no cell of the feature grid"
            raise OwsegError(f"the mask of {name} {what}; choose images that show it larger and with surroundings.")
        shown = sum(labels.any() for _, labels, _ in drawn)
        balance = (1 + 1 / shown) / 2 if self.balance is None else self.balance
        share = counts[y].sum() / counts.sum()
        weights = counts * np.where(y, share, 1 - share) ** -balance
        # scikit-learn's C multiplies the sum of the losses, the strength their mean.
        fit = LogisticRegression(C=self.strength / len(y), max_iter=1000).fit(x, y, weights / weights.mean())
        weight, bias = space.unwhitened(torch.tensor(fit.coef_[0]), float(fit.intercept_[0]))
        bias = bias + self.favour / shown**0.5
        probe = LinearProbe(name, weight.float()[None], bias.float()[None], level)
        return compete(kb.increments, probe)

    def _cells(
        self, shots: Sequence[Shot], cells_of: Callable[[View], Cells], space: RelativeMahalanobis, threads: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield of each shot cells (n, C) whitened, which are positive (n,), and for how many each stands (n,).

        At most ``MOST_CELLS`` of all shots are drawn, as many positive as negative ones.
        """
        # One size after another, so that the few views of a shot have different ones.
        every = [(scale, (i + turn) % 2 == 1) for turn in range(2) for i, scale in enumerate(self.scales)]
        count = min(len(every), max(1, self.views // len(shots)))
        most = max(1, MOST_CELLS // 2 // len(shots))
        views = ((shot, *every[(i * count + j) % len(every)]) for i, shot in enumerate(shots) for j in range(count))
        annotated = in_threads(cells_of, views, threads)
        for i in range(len(shots)):
            x, y = zip(*islice(annotated, count), strict=True)
            labels = np.concatenate(y)
            rng = np.random.default_rng(i)
            parts = [np.flatnonzero(labels == which) for which in (True, False)]
            kept = [part if len(part) <= most else rng.choice(part, most, replace=False) for part in parts]
            stand = [np.full(len(k), len(part) / max(1, len(k))) for k, part in zip(kept, parts, strict=True)]
            chosen = np.concatenate(kept)
            # Whitened last, as that is the most work.
            z = space.whiten(torch.cat(x)[torch.from_numpy(chosen)].float()).cpu().numpy()
            yield z, labels[chosen], np.concatenate(stand)


def _annotated(encode: Forward, level: int, channels: int, view: View) -> Cells:
    """Return the cells of a view that are not mostly void."""
    shot, scale, mirrored = view
    shot = shot.mirrored() if mirrored else shot
    maps = cells(encode(shot.image, scale), level, channels)[0]
    inside, outside = (cover(m, (maps.shape[0], maps.shape[1])) for m in (shot.positives, shot.negatives))
    annotated = (inside > 0.5) | (outside > 0.5)
    return maps.flatten(0, 1)[torch.from_numpy(annotated).to(maps.device)], inside[annotated] > 0.5


CARDS = (
    Card(
        "probe",
        "a linear probe of the feature pyramid; the default",
        make=Probe,
        options={
            "strength": "of the data against the ridge",
            "balance": "0: every cell weighs the same, 1: positive and negative cells do",
            "scales": "factors by which the shots are resized, with commas",
            "favour": "how much the class is favoured, the less the more shots there are",
            "level": "the stage on whose grid it is fitted: 0 for small things, at three times the cost",
            "views": "of all shots together, in the sizes and mirrored, about so many",
        },
    ),
)
