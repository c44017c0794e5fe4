"""NPM in the whitened feature pyramid: a prototype for networks of any classifier, as no decoder is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from owseg.errors import OwsegError
from owseg.increments.probe import LinearProbe
from owseg.learners._cells import best_distance, cover
from owseg.scorers.mahalanobis import RelativeMahalanobis


@dataclass(frozen=True, eq=False)
class ShotCells:
    """The whitened cells (n, C) of a shot; which are of the class, and which are taken to be something else (bool)."""

    cells: Tensor
    positive: Tensor
    negative: Tensor

    def evidence(self, prototypes: Tensor) -> Tensor:
        """Return ``2 m^T z - |m|^2``, (n, P), for prototypes (P, C)."""
        return 2 * self.cells @ prototypes.T - prototypes.square().sum(1)


def shot_cells(z: Tensor, positives: np.ndarray, negatives: np.ndarray) -> ShotCells:
    """Return the cells of z (C, h, w): those of which more than half is in a mask (H, W) bool are in it."""
    inside, outside = (torch.from_numpy(cover(m, (z.shape[1], z.shape[2])) > 0.5) for m in (positives, negatives))
    return ShotCells(z.flatten(1).T.cpu(), inside, outside)


def pyramid_prototype(
    name: str, shots: Sequence[ShotCells], space: RelativeMahalanobis, weighting: str, max_false: float
) -> LinearProbe:
    """Return a class that is where its mean m is the nearest, and nearer than the common mean by a margin.

    z is the whitened pyramid, in which squared distances to class means are Mahalanobis distances; ``|z - m|^2 <
    |z|^2 - t`` and ``|z - m|^2 < |z - m_k|^2`` for every known class k and every class learned so. Less ``|z|^2`` all
    of that is linear in z, and so in the pyramid: ``2 m^T z - |m|^2`` is above t and above that of every other mean.
    t is what the shots give: each is predicted by the mean of the others (see ``best_distance``), a single one by its
    own. Raises ``OwsegError`` where no cell of the class is nearer to the mean of the other shots than to a known one.
    """
    known = space.means[space.counts > 0].cpu()
    means = {i: (s.cells[s.positive].mean(0), float(s.positive.sum())) for i, s in enumerate(shots) if s.positive.any()}
    distances, hits, positives, negatives = [], [], 0, 0
    for i, shot in enumerate(shots):
        mean = _mean([m for j, m in means.items() if j != i] or list(means.values()), weighting)
        own, others = shot.evidence(mean[None])[:, 0], shot.evidence(known).amax(1)
        for marked, is_class in ((shot.positive, True), (shot.negative, False)):
            candidates = -own[marked & (own > others) & (own > 0)]
            distances.append(candidates.numpy())
            hits.append(np.full(len(candidates), is_class))
        positives, negatives = positives + int(shot.positive.sum()), negatives + int(shot.negative.sum())
    cut = best_distance(distances, hits, positives, negatives, max_false)
    if cut is None:
        raise OwsegError(
            f"the shots of {name} look too different, or too much like a known class: no cell of one is nearest to the "
            "mean of the others; choose clearer shots, or learn by the probe."
        )
    mean = _mean(list(means.values()), weighting)
    rows = [space.unwhitened(2 * m, -float(m.square().sum())) for m in (mean, *known)]
    weights, biases = torch.stack([w for w, _ in rows]), torch.stack([b for _, b in rows])
    # What no pixel may fall below is a competitor of constant evidence; just below, as the last cell is let in.
    least = torch.tensor([np.nextafter(np.float32(-cut), np.float32(-np.inf))]).to(biases.device)
    weights = torch.cat([weights[:1], torch.zeros_like(weights[:1]), weights[1:]])
    return LinearProbe(name, weights.float(), torch.cat([biases[:1], least, biases[1:]]).float(), space.level, "npm")


def _mean(means: Sequence[tuple[Tensor, float]], weighting: str) -> Tensor:
    """Return the mean (C,) of the class's cells, given that of each shot and their number: of all, or of the means."""
    counts = torch.tensor([count for _, count in means])
    weight = counts / counts.sum() if weighting == "pixels" else torch.full_like(counts, 1 / len(means))
    return weight @ torch.stack([mean for mean, _ in means])
