"""The novel-prototype method: a class is learned by remembering where its pixels lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from owseg.errors import OwsegError
from owseg.learners.increment import Increment
from owseg.learners.shots import Look, Shot
from owseg.models.network import Network
from owseg.scorers.joint import Joint
from owseg.types import Output, resize

if TYPE_CHECKING:
    from owseg.knowledge import KnowledgeBase

MAX_FALSE = 0.01
"""Share of other pixels that a radius found from the shots may claim; chosen on CamVid val (see docs/results.md)."""


@dataclass(frozen=True)
class NPM:
    """Learn a class by its prototype in the metric space (DMLNet, Eq. 11-12); no weight is trained.

    ``radius`` is lambda_novel, by default found from the shots (``radius_left_out``); ``weighting`` as in
    ``novel_prototype``.
    """

    radius: float | None = None
    weighting: str = "pixels"
    method = "npm"

    def __call__(self, kb: KnowledgeBase, name: str, shots: Sequence[Shot], look: Look) -> tuple[Increment, ...]:
        """Return the increments with the new prototype, every older prototype now compared with it, too."""
        if not kb.network.is_metric:
            raise OwsegError("NPM needs a network with a prototype classifier; learn by the probe or PLM.")
        views = [_view(kb, shot, look) for shot in shots]
        rivals = [i.prototype for i in kb.increments if isinstance(i, NovelPrototype)]
        made = novel_prototype(name, views, self.radius, rivals, self.weighting)
        old = [
            replace(i, rivals=(*i.rivals, made.prototype)) if isinstance(i, NovelPrototype) else i
            for i in kb.increments
        ]
        return (*old, made)


@dataclass(frozen=True)
class NovelPrototype:
    """One learned class: claims a pixel that is near its prototype and nearer to it than to any other.

    ``||F - m||^2 < radius`` and ``||F - m||^2 < ||F - m_k||^2`` for every other prototype (DMLNet, Eq. 12; ``radius``
    is lambda_novel, a squared distance). F is the embedding; the base classes' prototypes are ``T e_k``, to which the
    logits are the negative squared distances. ``rivals`` (R, D) are the prototypes of the other classes learned.
    """

    name: str
    prototype: tuple[float, ...]
    radius: float
    rivals: tuple[tuple[float, ...], ...] = ()

    def claim(self, output: Output, size: tuple[int, int]) -> Tensor:
        """Return where the class is, (B, H, W) bool at ``size``; decided on the embedding's grid, then interpolated."""
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
        nearest = (-output.logits).amin(1)
        for rival in self.rivals:
            nearest = torch.minimum(nearest, squared_distance(output.embedding, rival))
        return squared_distance(output.embedding, self.prototype), nearest

    def to_json(self) -> dict[str, Any]:
        """Return the increment as plain JSON; its 32-bit numbers survive exactly."""
        return {
            "kind": "novel_prototype",
            "name": self.name,
            "radius": self.radius,
            "prototype": list(self.prototype),
            "rivals": [list(r) for r in self.rivals],
        }

    @classmethod
    def restore(
        cls, value: dict[str, Any], tensors: Mapping[str, Tensor], network: Network, fitted: Joint | None
    ) -> NovelPrototype:
        """Read what ``to_json`` wrote."""
        rivals = tuple(tuple(r) for r in value["rivals"])
        return cls(value["name"], tuple(value["prototype"]), value["radius"], rivals)


def squared_distance(embedding: Tensor, prototype: Sequence[float]) -> Tensor:
    """Return ``||f - m||^2`` as (B, h, w) of embeddings (B, D, h, w)."""
    m = torch.tensor(prototype, dtype=embedding.dtype, device=embedding.device)
    return (embedding - m.view(1, -1, 1, 1)).square().sum(1)


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
) -> NovelPrototype:
    """Make the increment from one view per shot.

    The prototype is the mean embedding of the class's pixels over all shots (DMLNet, Eq. 11), or with
    ``weighting="images"`` the mean of the shots' means, as the released code has it. ``radius`` is by default the one
    at which prototypes made from the *other* shots claim each shot best (see ``radius_left_out``).
    """
    if weighting not in ("pixels", "images"):
        raise OwsegError(f"the shots are weighted by 'pixels' or 'images', not {weighting!r}.")
    if radius is None:
        radius = radius_left_out(views, rivals, weighting)
    if not radius > 0:
        raise OwsegError(f"the radius is a positive squared distance, not {radius}.")
    prototype = tuple(_mean(views, weighting).float().tolist())
    return NovelPrototype(name, prototype, radius, tuple(tuple(map(float, r)) for r in rivals))


def radius_left_out(
    views: Sequence[View],
    rivals: Sequence[Sequence[float]] = (),
    weighting: str = "pixels",
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
        prototype = tuple(_mean(others, weighting).float().tolist())
        increment = NovelPrototype("", prototype, np.inf, tuple(map(tuple, rivals)))
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


def _mean(views: Sequence[View], weighting: str) -> Tensor:
    """Return the mean embedding (D,) float64 of the masked pixels, as if every pixel were interpolated."""
    sums, counts = [], []
    for view in views:
        embedding = view.output.embedding[0]
        weight = _weights(view.mask, (embedding.shape[-2], embedding.shape[-1])).to(embedding.device)
        sums.append((embedding.double() * weight).sum((1, 2)))
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
