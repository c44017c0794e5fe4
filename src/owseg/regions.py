"""Regions: what is unknown in a picture, cut into pieces that a person can judge one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage

from owseg.errors import OwsegError
from owseg.grouping import directions
from owseg.labels import UNKNOWN

if TYPE_CHECKING:
    from owseg.knowledge import KnowledgeBase
    from owseg.learners.shots import Look
    from owseg.types import Output

MIN_AREA = 0.002
"""The smallest region by default, as a share of the picture: 345 pixels of 480x360."""
SPLIT = 0.5
"""The cosine between the two sides of a region below which they are two regions (see ``split``)."""


@dataclass(frozen=True)
class Rle:
    """A mask (H, W) as COCO's uncompressed run lengths: column by column, off first, ``sum(counts) = H W``.

    The compressed form says the same in fewer bytes, but nothing tells a reader that a string of it is torn.
    """

    size: tuple[int, int]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, mask: np.ndarray) -> Rle:
        """Return the run lengths of ``mask`` (H, W) bool."""
        flat = np.asarray(mask, bool).ravel(order="F")
        ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        runs = np.diff(np.concatenate([[0], ends, [flat.size]]))
        first = [0] if flat.size and flat[0] else []
        return cls((mask.shape[0], mask.shape[1]), (*first, *map(int, runs)))

    def mask(self) -> np.ndarray:
        """Return the mask, (H, W) bool."""
        on = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(on, self.counts).reshape(self.size, order="F")

    @property
    def area(self) -> int:
        """How many pixels are on."""
        return sum(self.counts[1::2])

    def to_json(self) -> dict[str, Any]:
        """Return ``{"size": [H, W], "counts": [...]}``, as COCO's tools read it."""
        return {"size": list(self.size), "counts": list(self.counts)}

    @classmethod
    def from_json(cls, value: Any, size: tuple[int, int]) -> Rle:
        """Read what ``to_json`` wrote of a mask of ``size``; raise ``OwsegError`` for anything else."""
        try:
            rle = cls((value["size"][0], value["size"][1]), tuple(value["counts"]))
            whole = all(type(n) is int and n >= 0 for n in (*rle.size, *rle.counts))
            if whole and rle.size == tuple(size) and sum(rle.counts) == size[0] * size[1]:
                return rle
        except (TypeError, KeyError, IndexError):
            pass
        raise OwsegError(f"these run lengths are no mask of {size[1]}x{size[0]}; give COCO's uncompressed ones.")


@dataclass(frozen=True, eq=False)
class Region:
    """A connected unknown region of one picture.

    ``core`` is where its score is at least ``mean``: what is most surely of the thing, since around it the score falls
    off by degrees. ``box`` is x, y, width, height in pixels; ``area`` counts pixels, ``share`` is that of the picture.
    ``mean`` and ``peak`` are the mean and the highest score in it. ``embedding`` (C,) is the mean of ``space`` over it,
    ``nearest`` the known class whose mean lies nearest there, at the Euclidean ``distance``; without a fitted space
    ``nearest`` is what the closed map says most often, and ``distance`` is None.
    """

    picture: str
    mask: Rle
    core: Rle
    box: tuple[int, int, int, int]
    area: int
    mean: float
    peak: float
    embedding: np.ndarray
    nearest: str
    distance: float | None

    @property
    def share(self) -> float:
        """The share of the picture that it covers."""
        return self.area / (self.mask.size[0] * self.mask.size[1])


@dataclass(frozen=True, eq=False)
class Found:
    """What is unknown in one picture: every pixel of it (H, W) bool, and the regions, the largest first."""

    unknown: np.ndarray
    regions: tuple[Region, ...]


def find_regions(
    kb: KnowledgeBase,
    image: np.ndarray,
    picture: str = "",
    min_area: float = MIN_AREA,
    split_at: float = SPLIT,
    look: Look | None = None,
) -> Found:
    """Return what ``kb`` does not know of a picture (3, H, W) uint8 called ``picture``.

    A region has at least ``min_area`` pixels (of the picture if below 1: a share), and holes smaller than that are
    filled. ``split_at`` is the cosine below which touching things are told apart (see ``split``); -1 never does. Raises
    ``OwsegError`` as ``kb.predict`` does, and for an area or a cosine that is none.
    """
    if not -1 <= split_at <= 1:
        raise OwsegError(f"regions are split at a cosine, from -1 (never) to 1, not at {split_at}.")
    output = (look or kb.forward)(image)
    prediction = kb.predict(image, look=lambda _: output)
    unknown, z = prediction.open_set == UNKNOWN, space(kb, output)
    least = pixels(min_area, unknown.shape)
    ids = split(components(unknown, least), z, least, split_at)
    places, made = ndimage.find_objects(ids), []
    for i, (rows, columns) in enumerate(places, 1):
        mask = ids == i
        cover = cells(mask, z.shape[1:])
        embedding = (z[:, cover > 0] @ cover[cover > 0] / cover.sum()).astype(np.float32)
        nearest, distance = _nearest(kb, embedding, prediction.labels[mask])
        scores = prediction.score[mask].astype(np.float64)
        box = columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start
        core = mask & (prediction.score >= min(scores.mean(), scores.max()))  # the mean of equals may exceed them
        figures = len(scores), float(scores.mean()), float(scores.max())
        made.append(Region(picture, Rle.of(mask), Rle.of(core), box, *figures, embedding, nearest, distance))
    return Found(unknown, tuple(sorted(made, key=lambda r: -r.area)))


def space(kb: KnowledgeBase, output: Output) -> np.ndarray:
    """Return the features (C, h, w) float32 in which things are told apart, of one picture.

    They are the pyramid whitened by the known classes' covariance: what makes one new class unlike another lives in
    the pyramid (docs/learning.md), and after whitening, directions in which known classes vary by themselves count for
    little. The origin is the mean of what is known. Without fitted scorers it is the last stage of the pyramid, less
    its mean over the picture, most of which is known.
    """
    if kb.fitted is not None:
        return kb.fitted.mahalanobis.whitened(output)[0].cpu().numpy()
    last = output.features[-1][0].float().cpu().numpy()
    return last - last.mean((1, 2), keepdims=True)


def pixels(area: float, shape: Sequence[int]) -> int:
    """Return an area in pixels, at least 1: below 1 it is a share of a picture of ``shape`` (H, W)."""
    if not area > 0:
        raise OwsegError(f"an area is above 0, not {area}: below 1 a share of the picture, from 1 on pixels.")
    return max(1, round(area * shape[0] * shape[1] if area < 1 else area))


def components(unknown: np.ndarray, least: int) -> np.ndarray:
    """Return the 4-connected pieces of ``unknown`` (H, W) with at least ``least`` pixels, numbered from 1; 0 elsewhere.

    A hole of fewer pixels that does not reach the border of the picture is filled first.
    """
    holes, _ = ndimage.label(~unknown)
    open_ = np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))
    small = np.bincount(holes.ravel()) < least
    small[0], small[open_] = False, False
    pieces, _ = ndimage.label(unknown | small[holes])
    return _renumbered(pieces, least)


def split(pieces: np.ndarray, z: np.ndarray, least: int, apart: float = SPLIT) -> np.ndarray:
    """Return ``pieces`` (H, W), numbered from 1, with those cut in two that hold things unlike each other.

    The directions of the cells of z (C, h, w) that a piece touches are merged by Ward's criterion, neighbours only.
    Down from the top of that tree, a piece is cut where its two sides have at least ``least`` pixels each and the
    cosine between their means is below ``apart``. What is smaller goes with the nearest cell that is not. Of a side
    that falls apart in the pixels, every part of ``least`` is a piece.
    """
    shape = z.shape[1:]
    at = _cell_of(pieces.shape, shape)
    out, count = np.zeros_like(pieces), 0
    for i, (rows, columns) in enumerate(ndimage.find_objects(pieces), 1):
        mask = pieces[rows, columns] == i
        cover = cells(pieces == i, shape)
        sides = _sides(z, cover, least, apart)
        local = np.where(mask, sides.ravel()[at[rows, columns]], 0)
        for side in range(1, int(sides.max()) + 1):
            parts = _renumbered(ndimage.label(local == side)[0], least if sides.max() > 1 else 1)
            out[rows, columns][parts > 0] = parts[parts > 0] + count
            count += int(parts.max(initial=0))
        if not (out[rows, columns] * mask).any():  # no part of either side is large enough
            count += 1
            out[rows, columns][mask] = count
    return out


def cells(mask: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return how many pixels of ``mask`` (H, W) lie in each cell of a grid of ``shape`` (h, w), float64."""
    at = _cell_of(mask.shape, shape)[mask]
    return np.bincount(at, minlength=shape[0] * shape[1]).reshape(tuple(shape)).astype(np.float64)


def _cell_of(size: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Return the number of the cell that each pixel lies in, (H, W)."""
    rows, columns = (np.arange(n) * m // n for n, m in zip(size, shape, strict=True))
    return rows[:, None] * shape[1] + columns


def _sides(z: np.ndarray, cover: np.ndarray, least: int, apart: float) -> np.ndarray:
    """Return the cells of one piece (h, w) numbered from 1 by the thing that they show; 0 elsewhere."""
    from sklearn.cluster import ward_tree
    from sklearn.feature_extraction.image import grid_to_graph

    inside = cover > 0
    ids = inside.astype(np.int64)
    if cover.sum() < 2 * least or inside.sum() < 2 or apart <= -1:
        return ids
    x, weight = directions(z[:, inside].T), list(cover[inside])
    n = len(x)
    tree = ward_tree(x, connectivity=grid_to_graph(*inside.shape, mask=inside))[0]
    for a, b in tree:
        weight.append(weight[a] + weight[b])

    def leaves(node: int) -> list[int]:
        stack, found = [node], []
        while stack:
            top = stack.pop()
            if top < n:
                found.append(top)
            else:
                stack += list(tree[top - n])
        return found

    def mean(node: int) -> np.ndarray:
        return np.average(x[leaves(node)], axis=0, weights=np.take(weight, leaves(node)))

    number, left, things = np.zeros(n, np.int64), [2 * n - 2], 0
    while left:
        whole = node = left.pop()
        while node >= n and weight[light := min(tree[node - n], key=weight.__getitem__)] < least:
            node = int(tree[node - n].sum() - light)  # the other side
        if node >= n and np.vdot(*directions(np.stack([mean(side) for side in tree[node - n]]))) < apart:
            left += list(tree[node - n])
        else:
            things += 1
            number[leaves(whole)] = things
    ids[inside] = number
    nearest = ndimage.distance_transform_edt(ids == 0, return_distances=False, return_indices=True)
    return np.where(inside, ids[tuple(nearest)], 0)


def _renumbered(ids: np.ndarray, least: int) -> np.ndarray:
    """Return ``ids`` without those of fewer than ``least`` pixels, numbered from 1 without a gap."""
    keep = np.bincount(ids.ravel()) >= least
    keep[0] = False
    return (np.cumsum(keep) * keep)[ids]


def _nearest(kb: KnowledgeBase, embedding: np.ndarray, labels: np.ndarray) -> tuple[str, float | None]:
    if kb.fitted is None:
        return kb.labels.names[int(np.bincount(labels).argmax())], None
    known = kb.fitted.mahalanobis
    gaps = (known.means.cpu() - torch.from_numpy(embedding)).norm(dim=1).masked_fill(known.counts.cpu() == 0, torch.inf)
    return kb.labels.names[int(gaps.argmin())], float(gaps.min())
