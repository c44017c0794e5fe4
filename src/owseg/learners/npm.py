"""The novel-prototype method (DMLNet, Eq. 11-12): a class is the mean embedding of its pixels and a radius."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from owseg._registry import Card
from owseg.data.lazy import Lazy
from owseg.errors import OwsegError
from owseg.increments.base import Increment
from owseg.increments.probe import compete
from owseg.increments.prototype import NovelPrototype
from owseg.knowledge.base import KnowledgeBase
from owseg.learners._cells import best_distance, require_space
from owseg.learners._pyramid_prototype import ShotCells, pyramid_prototype, shot_cells
from owseg.models.ops import resize, size_of
from owseg.types import Forward, Output, Shot

MAX_FALSE = 0.01
"""The share of the other pixels that a radius found from the shots may predict; chosen on CamVid val."""

KEPT = 16
"""The outputs that are kept: those of more shots are computed once to take the mean, and again to find the radius."""

Sum: TypeAlias = tuple[Tensor, Tensor]
"""The sum (D,) of the embeddings of some pixels, and their number (): what a mean of several shots is taken of."""


@dataclass(frozen=True)
class NPM:
    """Learn a class by its prototype (DMLNet, Eq. 11-12); no weight is trained.

    In the ``space`` "embedding", the paper's, the network has prototypes as well; ``radius`` is lambda_novel, by
    default found from the shots (``radius_left_out``). In the space "pyramid" a class is its mean in the whitened
    features, for a network of any classifier (``pyramid_prototype``). "auto" is the paper's where there are prototypes.
    ``weighting`` as in ``novel_prototype``.
    """

    radius: float | None = None
    weighting: str = "pixels"
    space: str = "auto"
    method = "npm"

    def __call__(self, kb: KnowledgeBase, name: str, shots: Sequence[Shot], forward: Forward) -> tuple[Increment, ...]:
        """Return the increments with the new prototype, which competes with every older one from now on."""
        if self.space not in ("auto", "embedding", "pyramid"):
            raise OwsegError(f"the space of NPM is 'auto', 'embedding' or 'pyramid', not {self.space!r}.")
        space = ("embedding" if kb.network.is_metric else "pyramid") if self.space == "auto" else self.space
        if self.weighting not in ("pixels", "images"):
            raise OwsegError(f"the shots are weighted by 'pixels' or 'images', not {self.weighting!r}.")
        outputs = Lazy(range(len(shots)), lambda i: _output_for(kb, shots[i], forward), KEPT)
        if space == "pyramid":
            return self._in_pyramid(kb, name, outputs)
        if not kb.network.is_metric:
            raise OwsegError("the embedding of this network has no prototypes; learn by NPM in the pyramid.")
        others = [i for i in kb.increments if isinstance(i, NovelPrototype)]
        made = novel_prototype(name, outputs, self.radius, [i.prototype for i in others], self.weighting)
        made = replace(made, against=tuple(i.name for i in others))
        # Eq. 12 asks for the nearest of all prototypes, so each of the older ones has to know the new one as well.
        old = [i.with_competitor(made) if isinstance(i, NovelPrototype) else i for i in kb.increments]
        return (*old, made)

    def _in_pyramid(self, kb: KnowledgeBase, name: str, outputs: Sequence[ShotOutput]) -> tuple[Increment, ...]:
        if self.radius is not None:
            raise OwsegError("a radius is of the embedding; in the pyramid the shots give the margin.")
        features = require_space(kb, "NPM in the pyramid")

        def cells(i: int) -> ShotCells:
            shown = shot_cells(features.whitened(outputs[i].output)[0], outputs[i].positives, outputs[i].negatives)
            if outputs[i].positives.any() and not shown.positive.any():
                raise OwsegError(
                    f"a mask of {name} covers half of no cell of the feature grid; choose images that show it larger."
                )
            return shown

        shown = Lazy(range(len(outputs)), cells, KEPT)
        return compete(kb.increments, pyramid_prototype(name, shown, features, self.weighting, MAX_FALSE))


@dataclass(frozen=True, eq=False)
class ShotOutput:
    """The output for one shot, with ``positives`` (H, W) bool of the class and ``negatives`` (H, W) bool.

    The negatives are pixels that are taken to be something else: false positives are counted there. A counterexample
    has no positives.
    """

    output: Output
    positives: np.ndarray
    negatives: np.ndarray


def novel_prototype(
    name: str,
    shots: Sequence[ShotOutput],
    radius: float | None = None,
    competitors: Sequence[Sequence[float]] = (),
    weighting: str = "pixels",
) -> NovelPrototype:
    """Make the increment from the outputs for the shots.

    The prototype is the mean embedding of the class's pixels over all shots (DMLNet, Eq. 11), or with
    ``weighting="images"`` the mean of the shots' means, as the released code has it. ``radius`` is by default the one
    at which prototypes made from the *other* shots predict each shot best (see ``radius_left_out``).
    """
    if weighting not in ("pixels", "images"):
        raise OwsegError(f"the shots are weighted by 'pixels' or 'images', not {weighting!r}.")
    # The paper has lambda_novel = 0.15, its code 1.5: what fits depends on how far a network spreads its embeddings.
    sums = _sums(shots)
    if radius is None:
        radius = radius_left_out(shots, competitors, weighting, sums=sums)
    if not radius > 0:
        raise OwsegError(f"the radius is a positive squared distance, not {radius}.")
    prototype = tuple(_mean(list(sums.values()), weighting).float().tolist())
    return NovelPrototype(name, prototype, radius, tuple(tuple(map(float, r)) for r in competitors))


def radius_left_out(
    shots: Sequence[ShotOutput],
    competitors: Sequence[Sequence[float]] = (),
    weighting: str = "pixels",
    max_false: float = MAX_FALSE,
    sums: Mapping[int, Sum] | None = None,
) -> float:
    """Return lambda_novel with the best leave-one-out IoU over the shots, among those with few false positives.

    Each shot in turn is predicted by the prototype of the others (Eq. 12); hits are among its ``positives``, false
    positives among its ``negatives``. Of the radii at which at most a share ``max_false`` of the negatives is
    predicted, the one with the best IoU, pooled over shots, is returned (see ``best_distance``). Shots show more of the
    class than other images do, so IoU alone would predict too much. A single one that shows the class is cut into its
    left and right half at the median column of its positives.
    """
    sums = _sums(shots) if sums is None else sums
    folds: Iterable[ShotOutput] = shots
    if len(sums) == 1:
        (only,) = sums
        halves = _halves(shots[only])
        # The halves come first, so that the number of a fold is still that of its sum.
        sums, folds = _sums(halves), chain(halves, (shots[j] for j in range(len(shots)) if j != only))
    distances: list[np.ndarray] = []
    hits: list[np.ndarray] = []
    positives = negatives = 0
    for i, held_out in enumerate(folds):
        # A single shot whose positives are in one column has no second half; it predicts itself.
        others = [s for j, s in sums.items() if j != i] or list(sums.values())
        prototype = tuple(_mean(others, weighting).float().tolist())
        # Of infinite radius: distances only.
        increment = NovelPrototype("", prototype, np.inf, tuple(map(tuple, competitors)))
        size = (held_out.positives.shape[0], held_out.positives.shape[1])
        own, nearest = (m[0].cpu().numpy() for m in increment.distances(held_out.output, size))
        for marked, is_class in ((held_out.positives, True), (held_out.negatives, False)):
            # Pixels nearer to another prototype are predicted at no radius.
            candidates = own[marked & (own < nearest)]
            distances.append(candidates)
            hits.append(np.full(len(candidates), is_class))
        positives, negatives = positives + int(held_out.positives.sum()), negatives + int(held_out.negatives.sum())
    furthest = best_distance(distances, hits, positives, negatives, max_false)
    if furthest is None:
        raise OwsegError(
            "no radius fits the shots: no pixel of the class is nearer to the prototype of the other shots than to a "
            "known class; choose clearer shots, or give the radius."
        )
    # Eq. 12 asks for a distance below the radius, so the last pixel let in must lie strictly inside.
    return float(np.nextafter(np.float32(furthest), np.float32(np.inf)))


def _sums(shots: Iterable[ShotOutput]) -> dict[int, Sum]:
    """Return the sum (D,) float64 of the embedding over the positives and their number, by the number of the shot.

    It is as if every pixel were interpolated. Counterexamples have none.
    """
    found = {}
    for i, shot in enumerate(shots):
        if shot.positives.any():
            embedding = shot.output.embedding[0]
            # (h, w), broadcast over (D, h, w)
            weight = _weights(shot.positives, size_of(embedding)).to(embedding.device)
            found[i] = (embedding.double() * weight).sum((1, 2)), weight.sum()
    return found


def _mean(sums: Sequence[Sum], weighting: str) -> Tensor:
    """Return the mean embedding (D,) float64 of the masked pixels."""
    if weighting == "images":
        return torch.stack([s / n for s, n in sums]).mean(0)
    # Eq. 11 is the mean over the pixels of all shots.
    return torch.stack([s for s, _ in sums]).sum(0) / torch.stack([n for _, n in sums]).sum()


def _weights(mask: np.ndarray, grid: tuple[int, int]) -> Tensor:
    """Return how much each cell of ``grid`` counts in the sum over masked pixels of an interpolated map, float64.

    Interpolation is linear, so that sum is the map times the adjoint of the interpolation applied to the mask, and
    the adjoint is what automatic differentiation computes. D full-resolution planes are never made.
    """
    cells = torch.zeros(1, 1, *grid, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        total = resize(cells, (mask.shape[0], mask.shape[1]))[0, 0][torch.from_numpy(mask)].sum()
        (weights,) = torch.autograd.grad(total, cells)
    return weights[0, 0]


def _halves(shot: ShotOutput) -> list[ShotOutput]:
    # The median splits the positives into halves of like size, wherever they are in the image.
    left = np.arange(shot.positives.shape[1]) <= np.median(np.nonzero(shot.positives)[1])
    sides = [ShotOutput(shot.output, shot.positives & side, shot.negatives & side) for side in (left, ~left)]
    return [side for side in sides if side.positives.any()]


def _output_for(kb: KnowledgeBase, shot: Shot, forward: Forward) -> ShotOutput:
    """Return the output for a shot; what ``kb`` predicts as known outside its positives is taken as negative.

    Of a counterexample all that is not void is.
    """
    output, known = forward(shot.image), np.ones(shot.size, bool)
    if kb.threshold is not None and not shot.is_counterexample:
        known = kb.assess(output, shot.size).decided(kb.scorer) <= np.float32(kb.threshold.value)
    return ShotOutput(output, shot.positives, known & shot.negatives)


CARDS = (
    Card(
        "npm",
        "DMLNet's novel-prototype method: the mean of a class, no training",
        make=NPM,
        source="Cen et al., ICCV 2021, Eq. 11-12",
        options={
            "radius": "lambda_novel, a squared distance: .15 in the paper, 1.5 in its code; by default from the shots",
            "weighting": "pixels or images",
            "space": "embedding, pyramid, or auto: embedding where there are prototypes",
        },
    ),
)
