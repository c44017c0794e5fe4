"""A class learned as a prototype in the metric space: what DMLNet's NPM leaves (Eq. 11-12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.increments.base import Increment, kept_competitors
from owseg.models.network import Network
from owseg.models.ops import resize
from owseg.types import Output


@dataclass(frozen=True)
class NovelPrototype:
    """One learned class: a pixel is of it if its embedding is near the prototype, and nearer to it than to any other.

    ``||F - m||^2 < radius`` and ``||F - m||^2 < ||F - m_k||^2`` for every other prototype (DMLNet, Eq. 12; ``radius``
    is lambda_novel, a squared distance). F is the embedding interpolated to the image, and the prototypes of the base
    classes are ``T e_k``. ``competitors`` (R, D) are the prototypes of the other learned classes, ``against`` the names
    of the last of them; the first may be from before names were stored.
    """

    name: str
    prototype: tuple[float, ...]
    radius: float
    competitors: tuple[tuple[float, ...], ...] = ()
    against: tuple[str, ...] = ()

    def predict_mask(self, output: Output, size: tuple[int, int]) -> Tensor:
        """Return where the class is, (B, H, W) bool at ``size``."""
        own, nearest = self.distances(output, size)
        return (own < nearest) & (own < self.radius)

    def update_labels(self, labels: Tensor, output: Output, label: int) -> Tensor:
        """Return ``labels`` with ``label`` where the class is predicted."""
        return labels.masked_fill(self.predict_mask(output, (labels.shape[1], labels.shape[2])), label)

    def with_competitor(self, other: NovelPrototype) -> NovelPrototype:
        """Return the same class with one more competitor."""
        return replace(self, competitors=(*self.competitors, other.prototype), against=(*self.against, other.name))

    def renamed(self, names: Mapping[str, str]) -> NovelPrototype:
        """Return it with the new names of classes, by their old ones, its competitors' among them."""
        against = tuple(names.get(n, n) for n in self.against)
        return replace(self, name=names.get(self.name, self.name), against=against)

    def without(self, others: Sequence[Increment]) -> NovelPrototype:
        """Return the same class without the competitors that ``others`` are."""
        rows, names = [o.prototype for o in others if isinstance(o, NovelPrototype)], {o.name for o in others}
        all_of = self.competitors
        kept, against = kept_competitors(len(all_of), self.against, names, lambda i: all_of[i] in rows)
        return replace(self, competitors=tuple(all_of[i] for i in kept), against=against)

    @torch.no_grad()
    def distances(self, output: Output, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the squared distances to the prototype and to the nearest other one, (B, H, W) each at ``size``.

        The embedding is interpolated plane by plane and every sum is kept as it grows, so the memory is a few planes
        at ``size``, whatever D. The distance to a base class is ``|F|^2 - E_k``, E_k being its evidence (``2 T F_k -
        T^2``), which is linear in F and so may be interpolated as well.
        """
        prototypes = np.array([self.prototype, *self.competitors], np.float32)
        # |F|^2 first, then the distance to each prototype.
        sums = [output.embedding.new_zeros(()) for _ in range(1 + len(prototypes))]
        for d, plane in enumerate(output.embedding.float().unbind(1)):
            full = resize(plane[:, None], size)[:, 0]
            sums = [s + (full - m).square() for s, m in zip(sums, (0.0, *prototypes[:, d].tolist()), strict=True)]
        # ``Output.evidence`` is optional; -|f - T e_k|^2 + |f|^2 is the same up to rounding.
        if output.evidence is None:
            evidence = output.logits.float() + output.embedding.float().square().sum(1, keepdim=True)
        else:
            evidence = output.evidence.float()
        # Class by class, so that never K planes of full size are in memory.
        best = resize(evidence[:, :1], size)[:, 0]
        for k in range(1, evidence.shape[1]):
            best = torch.maximum(best, resize(evidence[:, k : k + 1], size)[:, 0])
        nearest = sums[0] - best
        for competitor in sums[2:]:
            nearest = torch.minimum(nearest, competitor)
        return sums[1], nearest

    def to(self, device: torch.device) -> NovelPrototype:
        """Return itself: it has no tensor."""
        return self

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing: a prototype is short enough for JSON."""
        return {}

    def to_json(self) -> dict[str, Any]:
        """Return the increment as plain JSON; its 32-bit numbers survive exactly."""
        return {
            "kind": "novel_prototype",
            "name": self.name,
            "radius": self.radius,
            "prototype": list(self.prototype),
            "rivals": [list(r) for r in self.competitors],  # the name that format 2 has for competitors
            **({"against": list(self.against)} if self.against else {}),
        }


def _restore(value: dict[str, Any], tensors: Mapping[str, Tensor], network: Network) -> NovelPrototype:
    points, width = [value["prototype"], *value["rivals"]], network.classifier.embedding_channels
    numbers = [value["radius"], *(x for point in points for x in point)]
    fit = all(len(point) == width for point in points) and all(type(x) in (int, float) for x in numbers)
    against = tuple(map(str, value.get("against", ())))
    if not (fit and all(map(isfinite, numbers)) and len(against) < len(points)):
        raise OwsegError(f"the prototype of {value['name']!r} does not fit the network beside it.")
    own, *competitors = (tuple(point) for point in points)
    return NovelPrototype(value["name"], own, value["radius"], tuple(competitors), against)


CARDS = (
    Card(
        "novel_prototype", "a prototype and a radius in the metric space", make=_restore, source="Cen et al., ICCV 2021"
    ),
)
