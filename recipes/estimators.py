"""What else could be fitted to the frozen pyramid: other estimators in place of the Gaussians of the score joint.

    export OWSEG_DATA=DIR                            # DIR/camvid, DIR/outlier_objects and DIR/labelmefacade
    python -m recipes.held_out train frozen          # trains on two of three video sequences
    python -m recipes.estimators

Each is fitted to known cells of the two sequences, whitened by their covariance within classes, and evaluated on the
third, on val, and on val and street photos of other towns with objects pasted into them; test is not read. "joint" is
the score with the estimator in the place of log M, scaled on val's known pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from owseg._progress import track
from owseg.data.dataset import DataSet, spread_over
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.load import load
from owseg.metrics.pixel import Exact
from owseg.models.ops import resize
from owseg.scorers._features import labels_on
from owseg.scorers.joint import WEIGHTS, Joint
from owseg.types import Output
from recipes.held_out import place_of_data, sequences, weighed_on
from recipes.tables import markdown

Estimator = Callable[[Tensor], Tensor]
"""Whitened cells (n, C) -> scores (n,), higher where less is known."""

RANK, NEAREST, EXAMPLES, COMPONENTS = 32, 3, 500, 64


def cells_of(kb: KnowledgeBase, data: DataSet) -> tuple[Tensor, Tensor]:
    """Return the whitened cells (n, C) of known classes of every second image, and their labels (n,)."""
    space, found = kb.feature_space, []
    for sample in track(data.pick(range(0, len(data), 2)), "features", len(data) // 2):
        z = space.whitened(kb.forward(sample.image))
        labels = labels_on(torch.from_numpy(sample.target)[None], (1, *z.shape[-2:]), len(kb.labels))[0].flatten()
        cells = z[0].flatten(1).T
        keep = (labels >= 0).nonzero()[::8, 0]
        found.append((cells[keep], labels[keep]))
    return torch.cat([x for x, _ in found]), torch.cat([y for _, y in found])


def shared(x: Tensor, y: Tensor, classes: int) -> Estimator:
    """``log min_k |z - m_k|^2``: Gaussians with the covariance that all classes share, as in joint."""
    means = torch.stack([x[y == k].mean(0) for k in range(classes)])
    return lambda z: torch.cdist(z, means).amin(1).square().log()


def low_rank(x: Tensor, y: Tensor, classes: int) -> Estimator:
    """The least negative log-likelihood of Gaussians whose covariance is of rank ``RANK`` and diagonal, one a class."""
    parts = []
    for k in range(classes):
        own = x[y == k]
        mean = own.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov(own.T.double()))
        rest = values[:-RANK].mean().clamp(min=1e-3)
        top, axes = values[-RANK:].clamp(min=float(rest)), vectors[:, -RANK:]
        log_det = top.log().sum() + (len(values) - RANK) * rest.log()
        parts.append((mean, axes.float(), (1 / rest - 1 / top).float(), float(1 / rest), float(log_det)))

    def score(z: Tensor) -> Tensor:
        return torch.stack([
            scale * (z - mean).square().sum(1) - ((z - mean) @ axes).square() @ less + log_det
            for mean, axes, less, scale, log_det in parts
        ]).amin(0)  # fmt: skip

    return score


def nearest(x: Tensor, y: Tensor, classes: int) -> Estimator:
    """The distance to the k-th nearest of examples, ``EXAMPLES`` of each class, all divided by their length."""
    draw = torch.Generator().manual_seed(0)
    picked = [(y == k).nonzero()[:, 0] for k in range(classes)]
    bank = torch.cat([F.normalize(x[i[torch.randperm(len(i), generator=draw)[:EXAMPLES]]], dim=1) for i in picked])
    return lambda z: torch.cat([
        torch.cdist(part, bank).kthvalue(NEAREST).values for part in F.normalize(z, dim=1).split(4096)
    ])  # fmt: skip


def cosine(x: Tensor, y: Tensor, classes: int) -> Estimator:
    """``-max_k cos(z, m_k)``."""
    means = F.normalize(torch.stack([x[y == k].mean(0) for k in range(classes)]), dim=1)
    return lambda z: -(F.normalize(z, dim=1) @ means.T).amax(1)


def residual(x: Tensor, y: Tensor, classes: int) -> Estimator:
    """The logarithm of the squared length outside the ``COMPONENTS`` principal axes of all known cells."""
    mean = x.mean(0)
    axes = torch.linalg.eigh(torch.cov(x.T.double())).eigenvectors[:, -COMPONENTS:].float()
    return lambda z: ((z - mean).square().sum(1) - ((z - mean) @ axes).square().sum(1)).clamp(min=1e-6).log()


ESTIMATORS = {
    "Gaussians, one covariance": shared,
    f"Gaussians, rank {RANK} and diagonal each": low_rank,
    f"{NEAREST}rd nearest of {EXAMPLES} examples a class": nearest,
    "cosine to the nearest class mean": cosine,
    f"outside {COMPONENTS} principal axes": residual,
}


class Scores:
    """The map of each estimator, alone and in the place of log M in joint, of an output."""

    def __init__(self, kb: KnowledgeBase, estimators: dict[str, Estimator], joint: Joint) -> None:
        self.kb, self.estimators, self.joint = kb, estimators, joint
        self.scale: dict[str, tuple[float, float]] = {}

    def alone(self, output: Output) -> dict[str, Tensor]:
        """Return maps (1, h, w)."""
        z = self.kb.feature_space.whitened(output)
        return {n: e(z[0].flatten(1).T).view(1, *z.shape[-2:]) for n, e in self.estimators.items()}

    def fit(self, val: DataSet) -> None:
        """Find mean and deviation of each over known cells."""
        values: dict[str, list[Tensor]] = {name: [] for name in self.estimators}
        for sample in track(val, "scales", len(val)):
            maps = self.alone(self.kb.forward(sample.image))
            shape = next(iter(maps.values())).shape
            known = labels_on(torch.from_numpy(sample.target)[None], shape, len(self.kb.labels)) >= 0
            for name, score in maps.items():
                values[name].append(score[known])
        self.scale = {n: (float(torch.cat(v).mean()), float(torch.cat(v).std())) for n, v in values.items()}

    def __call__(self, output: Output) -> dict[tuple[str, str], Tensor]:
        """Return the maps by estimator and "alone" or "joint"."""
        _, unsure, difference = self.joint.standard(output)[0]
        rest = WEIGHTS[1] * unsure + WEIGHTS[2] * difference.clamp(min=0).asinh()
        found = {}
        for name, score in self.alone(output).items():
            mean, deviation = self.scale[name]
            found[name, "alone"], found[name, "joint"] = score, (score - mean) / deviation + rest
        return found


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="frozen-linear", help="of recipes.held_out, in --runs")
    parser.add_argument("--data", type=Path, default=place_of_data())
    parser.add_argument("--runs", type=Path, default=Path("runs/held_out"))
    args = parser.parse_args()
    kb = load(args.runs / args.network)
    joint = kb.fitted["joint"]
    assert isinstance(joint, Joint)
    x, y = cells_of(kb, sequences(args.data, kb.labels)[0])
    scores = Scores(kb, {name: fit(x, y, len(kb.labels)) for name, fit in ESTIMATORS.items()}, joint)
    sets = weighed_on(args.data, kb.labels)
    val = sets["val"]
    assert isinstance(val, DataSet)
    scores.fit(spread_over(val, 34))
    rows: dict[tuple[str, str], list[str]] = {(n, how): [] for n in ESTIMATORS for how in ("alone", "joint")}
    for samples in sets.values():
        states = {key: Exact() for key in rows}
        for sample in samples:
            for key, score in scores(kb.forward(sample.image)).items():
                full = resize(score[:, None].float(), sample.target.shape)[0, 0].numpy()
                states[key].update(np.ascontiguousarray(full), sample.target)
        for key, state in states.items():
            found = state.compute()
            rows[key].append(f"{found.ap:.3f} / {found.fpr95:.3f}")
    markdown("Estimators: AP / FPR95", ("estimator", "", *sets), [(*key, *cells) for key, cells in rows.items()])


if __name__ == "__main__":
    main()
