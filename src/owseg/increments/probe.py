"""A class learned as a linear probe of the feature pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from owseg._registry import Card
from owseg.errors import OwsegError
from owseg.increments.base import Increment, kept_competitors
from owseg.models.network import Network
from owseg.models.ops import resize, size_of
from owseg.types import Output


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """One learned class: it is where its logit ``w^T x + b`` is positive and above that of every other probe.

    x is the backbone's pyramid on the grid of stage ``level``. ``weights`` (1 + R, C) and ``biases`` (1 + R,) are those
    of the class and of its R competitors, among them the other classes that were learned by the same ``method``, before
    or after: logits of another method have another unit. ``against`` names the classes of the last competitors; the
    first may be from before names were stored, or no learned class.
    """

    name: str
    weights: Tensor
    biases: Tensor
    level: int
    method: str = "probe"
    against: tuple[str, ...] = ()

    @torch.no_grad()
    def predict_mask(self, output: Output, size: tuple[int, int]) -> Tensor:
        """Return where the class is, (B, H, W) bool; logits are interpolated to the image before they are compared."""
        grid = size_of(output.features[self.level])
        parts = torch.split(self.weights, [f.shape[1] for f in output.features], 1)
        # A 1x1 convolution commutes with interpolation: each stage is projected first, as few channels are cheaper.
        stages = zip(output.features, parts, strict=True)
        logits = sum(resize(F.conv2d(f.float(), w[:, :, None, None]), grid) for f, w in stages)
        full = resize(logits + self.biases.view(1, -1, 1, 1), size)
        # A logit above 0 is a probability above one half.
        own = full[:, 0]
        return (own > 0) & (own > full[:, 1:].amax(1)) if len(self.biases) > 1 else own > 0

    def update_labels(self, labels: Tensor, output: Output, label: int) -> Tensor:
        """Return ``labels`` with ``label`` where the class is predicted."""
        return labels.masked_fill(self.predict_mask(output, (labels.shape[1], labels.shape[2])), label)

    def with_competitor(self, other: LinearProbe) -> LinearProbe:
        """Return the same class with one more competitor."""
        # Its first row is its own class, the others are its competitors.
        weights, biases = torch.cat([self.weights, other.weights[:1]]), torch.cat([self.biases, other.biases[:1]])
        return replace(self, weights=weights, biases=biases, against=(*self.against, other.name))

    def renamed(self, names: Mapping[str, str]) -> LinearProbe:
        """Return it with the new names of classes, by their old ones, its competitors' among them."""
        against = tuple(names.get(n, n) for n in self.against)
        return replace(self, name=names.get(self.name, self.name), against=against)

    def without(self, others: Sequence[Increment]) -> LinearProbe:
        """Return the same class without the competitors that ``others`` are."""
        rows = [o for o in others if isinstance(o, LinearProbe)]

        def equal(i: int) -> bool:
            own = self.weights[i + 1], self.biases[i + 1]
            return any(torch.equal(own[0], o.weights[0]) and torch.equal(own[1], o.biases[0]) for o in rows)

        kept, against = kept_competitors(len(self.biases) - 1, self.against, {o.name for o in others}, equal)
        at = [0, *(i + 1 for i in kept)]
        return replace(self, weights=self.weights[at], biases=self.biases[at], against=against)

    def to(self, device: torch.device) -> LinearProbe:
        """Return it with its tensors on ``device``."""
        return replace(self, weights=self.weights.to(device), biases=self.biases.to(device))

    def to_json(self) -> dict[str, Any]:
        """Return name, level, method and the competitors' names; the rest is in ``tensors``."""
        method = {} if self.method == "probe" else {"method": self.method}
        against = {"against": list(self.against)} if self.against else {}
        return {"kind": "probe", "name": self.name, "level": self.level, **method, **against}

    def tensors(self) -> dict[str, Tensor]:
        """Return weights and biases."""
        return {"weights": self.weights, "biases": self.biases}


def _restore(value: dict[str, Any], tensors: Mapping[str, Tensor], network: Network) -> LinearProbe:
    weights, biases, against = tensors["weights"], tensors["biases"], tuple(map(str, value.get("against", ())))
    stages = len(network.backbone.channels)
    fit = weights.shape == (len(biases), sum(network.backbone.channels)) and biases.ndim == 1
    fit = fit and len(against) < len(biases)
    if not (fit and type(value["level"]) is int and 0 <= value["level"] < stages):
        raise OwsegError(f"the probe of {value['name']!r} does not fit the backbone beside it.")
    return LinearProbe(value["name"], weights, biases, value["level"], value.get("method", "probe"), against)


def compete(increments: Sequence[Increment], made: LinearProbe) -> tuple[Increment, ...]:
    """Return ``increments`` and, last, ``made``; it and each that was learned by its method compete with each other."""
    old: list[Increment] = []
    last = made
    for other in increments:
        if isinstance(other, LinearProbe) and other.method == made.method:
            old.append(other.with_competitor(made))
            last = last.with_competitor(other)
        else:
            old.append(other)
    return (*old, last)


CARDS = (Card("probe", "a linear probe of the feature pyramid", make=_restore),)
