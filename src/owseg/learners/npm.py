"""The novel-prototype method: a class is learned by remembering where its pixels lie in the metric space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from owseg.errors import OwsegError
from owseg.types import Output, resize


@dataclass(frozen=True)
class NovelPrototype:
    """One learned class: claims a pixel that is near its prototype and nearer to it than to any other.

    ``||F - m||^2 < radius`` and ``||F - m||^2 < ||F - m_k||^2`` for every other prototype (DMLNet, Eq. 12; ``radius`` is
    lambda_novel, a squared distance). The base prototypes' distances are the negative logits; ``rivals`` (R, D) are the
    prototypes of the classes learned before. A class learned later claims in its turn, so all are compared with all.
    """

    name: str
    prototype: tuple[float, ...]
    radius: float
    rivals: tuple[tuple[float, ...], ...] = ()

    def claim(self, output: Output, size: tuple[int, int]) -> Tensor:
        """Return where the class is, (B, H, W) bool at ``size``; decided at network resolution, then interpolated."""
        distance = squared_distance(output.embedding, self.prototype)
        nearest = (-output.logits).amin(1)
        for rival in self.rivals:
            nearest = torch.minimum(nearest, squared_distance(output.embedding, rival))
        margin = torch.minimum(nearest, torch.full_like(nearest, self.radius)) - distance
        return resize(margin[:, None], size)[:, 0] > 0

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
    def from_json(cls, value: dict[str, Any]) -> NovelPrototype:
        """Read what ``to_json`` wrote."""
        rivals = tuple(tuple(r) for r in value["rivals"])
        return cls(value["name"], tuple(value["prototype"]), value["radius"], rivals)


def squared_distance(embedding: Tensor, prototype: Sequence[float]) -> Tensor:
    """Return ``||f - m||^2`` as (B, h, w) for an embedding (B, D, h, w)."""
    m = torch.tensor(prototype, dtype=embedding.dtype, device=embedding.device)
    return (embedding - m.view(1, -1, 1, 1)).square().sum(1)


def novel_prototype(
    name: str,
    embeddings: Sequence[Tensor],
    masks: Sequence[np.ndarray],
    radius: float | None = None,
    coverage: float = 0.9,
    rivals: Sequence[Sequence[float]] = (),
    weighting: str = "pixels",
) -> NovelPrototype:
    """Make the increment from shots: embeddings (1, D, h, w) and masks (H, W) bool of the class.

    The prototype is the mean embedding of the class's pixels over all shots (DMLNet, Eq. 11), or with
    ``weighting="images"`` the mean of the shots' means, as the released code has it. ``radius`` is by default the squared
    distance within which a share ``coverage`` of the class's pixels lie of a prototype made from the *other* shots
    (leave one out); a single shot is split into its left and right half for that.
    """
    if weighting not in ("pixels", "images"):
        raise OwsegError(f"the shots are weighted by 'pixels' or 'images', not {weighting!r}.")
    pixels = [_pixels(e, m) for e, m in zip(embeddings, masks, strict=True)]
    if radius is None:
        parts = pixels if len(pixels) > 1 else _halves(embeddings[0], masks[0])
        held_out = []
        for i, part in enumerate(parts):
            others = [p for j, p in enumerate(parts) if j != i] or parts
            held_out.append((part - _mean(others, weighting)).square().sum(1))
        radius = float(torch.quantile(_thinned(torch.cat(held_out)), coverage))
    if not radius > 0:
        raise OwsegError(f"the radius is a positive squared distance, not {radius}.")
    prototype = tuple(_mean(pixels, weighting).float().tolist())
    return NovelPrototype(name, prototype, radius, tuple(tuple(map(float, r)) for r in rivals))


def _pixels(embedding: Tensor, mask: np.ndarray) -> Tensor:
    """Return the embeddings of the masked pixels at full resolution, (n, D) in float64."""
    full = resize(embedding, (mask.shape[0], mask.shape[1]))[0]
    return full[:, torch.from_numpy(mask)].T.double()


def _mean(parts: Sequence[Tensor], weighting: str) -> Tensor:
    return torch.cat(list(parts)).mean(0) if weighting == "pixels" else torch.stack([p.mean(0) for p in parts]).mean(0)


def _halves(embedding: Tensor, mask: np.ndarray) -> list[Tensor]:
    columns = np.nonzero(mask)[1]
    left = mask & (np.arange(mask.shape[1]) <= np.median(columns))
    return [_pixels(embedding, half) for half in (left, mask & ~left) if half.any()]


def _thinned(values: Tensor, most: int = 1_000_000) -> Tensor:
    return values[:: max(1, -(-len(values) // most))]  # torch.quantile refuses more than 16 million values
