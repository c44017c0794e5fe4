"""The novel-prototype method: a class is learned by remembering where its pixels lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
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

MAX_FALSE = 0.01
"""Share of other pixels that a radius found from the shots may claim; chosen on CamVid val (see docs/results.md)."""


class Space(Protocol):
    """Where prototypes live: any space in which each base class has one and distances mean something."""

    @property
    def name(self) -> str:
        """How a stored knowledge base calls it."""
        ...

    def locate(self, output: Output) -> Tensor:
        """Return every cell's place in the space, (B, D, h, w)."""
        ...

    def nearest(self, output: Output) -> Tensor:
        """Return the squared distance (B, h, w) to the nearest base prototype."""
        ...


@dataclass(frozen=True)
class MetricSpace:
    """The paper's: the embedding, with the base prototypes ``T e_t``; its distances are the negative logits."""

    name: str = "metric"

    def locate(self, output: Output) -> Tensor:
        """Return the embedding."""
        return output.embedding

    def nearest(self, output: Output) -> Tensor:
        """Return ``min_t ||f - m_t||^2``."""
        return (-output.logits).amin(1)


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """The whitened feature pyramid, with the base classes' means as prototypes: the space of the Mahalanobis score.

    The metric space has only as many dimensions as there are known classes, and what tells a new class from them may
    have been thrown away there; the pyramid still has it.
    """

    mahalanobis: RelativeMahalanobis
    name: str = "features"

    def locate(self, output: Output) -> Tensor:
        """Return the whitened features, on the grid of the Mahalanobis score."""
        return self.mahalanobis.whitened(output)

    def nearest(self, output: Output) -> Tensor:
        """Return ``min_k M_k``."""
        return self.mahalanobis.nearest(output)


def spaces_of(network: Network, fitted: Joint | None) -> dict[str, Space]:
    """Return the spaces by name in which a class can be learned: metric with prototypes, features with a fit."""
    found: dict[str, Space] = {"features": FeatureSpace(fitted.mahalanobis)} if fitted is not None else {}
    return found | ({"metric": MetricSpace()} if network.is_metric else {})


@dataclass(frozen=True)
class NPM:
    """Learn a class by its prototype (DMLNet, Eq. 11-12); no weight is trained.

    ``space`` is where it lies: "metric" is the paper's, "features" the whitened pyramid, by default where the fitted
    scorers are there. ``radius`` is lambda_novel, by default found from the shots (``radius_left_out``);
    ``weighting`` as in ``novel_prototype``.
    """

    radius: float | None = None
    weighting: str = "pixels"
    space: str | None = None
    method = "npm"

    def __call__(self, kb: KnowledgeBase, name: str, shots: Sequence[Shot], look: Look) -> tuple[Increment, ...]:
        """Return the increments with the new prototype, every older one in its space now compared with it, too."""
        spaces = spaces_of(kb.network, kb.fitted)
        where = self.space or next(iter(spaces), "metric")
        if where not in spaces:
            raise OwsegError(
                f"this knowledge base has no {where!r} space to learn in; it has {', '.join(spaces) or 'none'}. A "
                "metric one needs a prototype classifier, a features one the fitted scorers."
            )
        views = [_view(kb, shot, look) for shot in shots]
        others = [i for i in kb.increments if isinstance(i, NovelPrototype) and i.space.name == where]
        made = novel_prototype(name, views, self.radius, [i.prototype for i in others], self.weighting, spaces[where])
        old = [replace(i, rivals=(*i.rivals, made.prototype)) if i in others else i for i in kb.increments]
        return (*old, made)


@dataclass(frozen=True)
class NovelPrototype:
    """One learned class: claims a pixel that is near its prototype and nearer to it than to any other.

    ``||F - m||^2 < radius`` and ``||F - m||^2 < ||F - m_k||^2`` for every other prototype (DMLNet, Eq. 12; ``radius``
    is lambda_novel, a squared distance), in any ``space``; the paper's is the metric one. ``rivals`` (R, D) are the
    prototypes of the other classes learned in this space, before or after.
    """

    name: str
    prototype: tuple[float, ...]
    radius: float
    rivals: tuple[tuple[float, ...], ...] = ()
    space: Space = MetricSpace()

    def claim(self, output: Output, size: tuple[int, int]) -> Tensor:
        """Return where the class is, (B, H, W) bool at ``size``; decided on the space's grid, then interpolated."""
        distance, nearest = self._distances(output)
        margin = torch.minimum(nearest, torch.full_like(nearest, self.radius)) - distance
        return resize(margin[:, None], size)[:, 0] > 0

    def relabel(self, labels: Tensor, output: Output, label: int) -> Tensor:
        """Return ``labels`` with ``label`` where the class claims."""
        return labels.masked_fill(self.claim(output, (labels.shape[1], labels.shape[2])), label)

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing: a prototype is short enough for JSON."""
        return {}

    def distances(self, output: Output, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Return, for a batch of one, the squared distances (H, W) to the prototype and to the nearest other one."""
        own, nearest = (resize(d[:, None], (size[0], size[1]))[0, 0].cpu() for d in self._distances(output))
        return own, nearest

    def _distances(self, output: Output) -> tuple[Tensor, Tensor]:
        place, nearest = self.space.locate(output), self.space.nearest(output)
        for rival in self.rivals:
            nearest = torch.minimum(nearest, squared_distance(place, rival))
        return squared_distance(place, self.prototype), nearest

    def to_json(self) -> dict[str, Any]:
        """Return the increment as plain JSON; its 32-bit numbers survive exactly."""
        return {
            "kind": "novel_prototype",
            "name": self.name,
            "space": self.space.name,
            "radius": self.radius,
            "prototype": list(self.prototype),
            "rivals": [list(r) for r in self.rivals],
        }

    @classmethod
    def restore(
        cls, value: dict[str, Any], tensors: Mapping[str, Tensor], network: Network, fitted: Joint | None
    ) -> NovelPrototype:
        """Read what ``to_json`` wrote; the space is that of ``network`` or ``fitted``."""
        rivals = tuple(tuple(r) for r in value["rivals"])
        space = spaces_of(network, fitted)[value["space"]]
        return cls(value["name"], tuple(value["prototype"]), value["radius"], rivals, space)


def squared_distance(place: Tensor, prototype: Sequence[float]) -> Tensor:
    """Return ``||f - m||^2`` as (B, h, w) for places (B, D, h, w)."""
    m = torch.tensor(prototype, dtype=place.dtype, device=place.device)
    return (place - m.view(1, -1, 1, 1)).square().sum(1)


@dataclass(frozen=True)
class View:
    """What the network made of one shot: its output, ``mask`` (H, W) bool of the class, ``elsewhere`` (H, W) bool.

    ``elsewhere`` marks pixels outside the mask that are taken to be something else, to see where a claim would be
    wrong.
    """

    output: Output
    mask: np.ndarray
    elsewhere: np.ndarray


def novel_prototype(
    name: str,
    views: Sequence[View],
    radius: float | None = None,
    rivals: Sequence[Sequence[float]] = (),
    weighting: str = "pixels",
    space: Space = MetricSpace(),
) -> NovelPrototype:
    """Make the increment from one view per shot.

    The prototype is the mean embedding of the class's pixels over all shots (DMLNet, Eq. 11), or with
    ``weighting="images"`` the mean of the shots' means, as the released code has it. ``radius`` is by default the one
    at which prototypes made from the *other* shots claim each shot best (see ``radius_left_out``).
    """
    if weighting not in ("pixels", "images"):
        raise OwsegError(f"the shots are weighted by 'pixels' or 'images', not {weighting!r}.")
    if radius is None:
        radius = radius_left_out(views, rivals, weighting, space)
    if not radius > 0:
        raise OwsegError(f"the radius is a positive squared distance, not {radius}.")
    prototype = tuple(_mean(views, weighting, space).float().tolist())
    return NovelPrototype(name, prototype, radius, tuple(tuple(map(float, r)) for r in rivals), space)


def radius_left_out(
    views: Sequence[View],
    rivals: Sequence[Sequence[float]] = (),
    weighting: str = "pixels",
    space: Space = MetricSpace(),
    max_false: float = MAX_FALSE,
) -> float:
    """Return lambda_novel with the best leave-one-out IoU over the shots, among those that claim little else.

    Each shot in turn is claimed by the prototype of the others (Eq. 12); hits are pixels of its mask, false claims
    pixels ``elsewhere``. Of the radii at which at most a share ``max_false`` of ``elsewhere`` is claimed, the one
    with the highest ``IoU = hits / (mask + false claims)``, pooled over shots, is returned, the smallest of equals.
    Shots show more of the class than the world does, so IoU alone would claim too much. A single shot is cut into its
    left and right half at the mask's median column.
    """
    folds = views if len(views) > 1 else _halves(views[0])
    distances, hits = [], []
    for i, held_out in enumerate(folds):
        others = [v for j, v in enumerate(folds) if j != i] or folds
        prototype = tuple(_mean(others, weighting, space).float().tolist())
        increment = NovelPrototype("", prototype, np.inf, tuple(map(tuple, rivals)), space)
        own, nearest = (m.numpy() for m in increment.distances(held_out.output, held_out.mask.shape))
        for marked, is_class in ((held_out.mask, True), (held_out.elsewhere, False)):
            claimable = own[marked & (own < nearest)]
            distances.append(claimable)
            hits.append(np.full(len(claimable), is_class))
    order = np.argsort(np.concatenate(distances))
    distance, hit = np.concatenate(distances)[order], np.cumsum(np.concatenate(hits)[order])
    false = np.arange(1, len(hit) + 1) - hit
    mask, elsewhere = sum(int(f.mask.sum()) for f in folds), sum(int(f.elsewhere.sum()) for f in folds)
    iou = np.where(false <= max_false * elsewhere, hit / (mask + false), 0.0)
    if not iou.any():
        raise OwsegError(
            "the shots do not agree on where the class lies: none of its pixels is nearer to the others' prototype "
            "than to a known class; choose clearer shots, or give the radius."
        )
    # Eq. 12 asks for a distance below the radius, so the last pixel let in must lie strictly inside.
    return float(np.nextafter(np.float32(distance[np.argmax(iou)]), np.float32(np.inf)))


def _mean(views: Sequence[View], weighting: str, space: Space) -> Tensor:
    """Return the mean place (D,) float64 of the masked pixels, as if every pixel were interpolated."""
    sums, counts = [], []
    for view in views:
        place = space.locate(view.output)[0]
        weight = _weights(view.mask, (place.shape[-2], place.shape[-1])).to(place.device)
        sums.append((place.double() * weight).sum((1, 2)))
        counts.append(weight.sum())
    if weighting == "images":
        return torch.stack([s / n for s, n in zip(sums, counts, strict=True)]).mean(0)
    return torch.stack(sums).sum(0) / torch.stack(counts).sum()


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


def _halves(view: View) -> list[View]:
    left = np.arange(view.mask.shape[1]) <= np.median(np.nonzero(view.mask)[1])
    sides = [View(view.output, view.mask & side, view.elsewhere & side) for side in (left, ~left)]
    return [side for side in sides if side.mask.any()]


def _view(kb: KnowledgeBase, shot: Shot, look: Look) -> View:
    """Look at a shot: outside its mask, what the knowledge base calls known is taken to be something else."""
    output, known = look(shot.image), np.ones(shot.size, bool)
    if kb.threshold is not None:
        known = (kb.score(output, shot.size) <= kb.threshold.value) | kb.closed(output, shot.size)[1]
    return View(output, shot.mask, known & shot.elsewhere)
