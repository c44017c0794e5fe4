"""Regions: the unknown pixels of an image as connected pieces, each of one object where they can be told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from owseg.data.masks import Rle
from owseg.errors import OwsegError
from owseg.knowledge.prediction import Prediction
from owseg.labels import UNKNOWN
from owseg.scorers.mahalanobis import RelativeMahalanobis
from owseg.types import Output

MIN_AREA = 0.002
"""The smallest region by default, as a share of the image: 345 pixels of 480x360."""

SPLIT_COSINE = 0.5
"""The cosine between the two sides of a region below which they are two regions (see ``split_pieces``)."""


@dataclass(frozen=True, eq=False)
class Region:
    """A connected unknown region of one image.

    ``core`` is where its score is at least ``mean``: the part that most surely belongs to the object, as the score
    falls off around it. ``box`` is x, y, width, height in pixels; ``area`` is in pixels, ``share`` the share of the
    image. ``mean`` and ``peak`` are the mean and the highest score in it. ``embedding`` (C,) is its mean feature,
    ``nearest`` the known class whose mean is nearest to that, at the Euclidean ``distance``; without a fitted feature
    space ``nearest`` is the most frequent class of the closed map, and ``distance`` is None.
    """

    image_id: str
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
        """The share of the image that it covers."""
        return self.area / (self.mask.size[0] * self.mask.size[1])

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON, without the embedding; the mask as COCO's uncompressed run lengths."""
        return {
            "image": self.image_id,
            "box": list(self.box),
            "area": self.area,
            "share": self.share,
            "mean": self.mean,
            "peak": self.peak,
            "nearest": self.nearest,
            "distance": self.distance,
            "mask": self.mask.to_json(),
        }

    def __repr__(self) -> str:
        x, y, width, height = self.box
        where = f"{self.image_id or 'image'}, {width}x{height} at ({x}, {y}), {self.area} pixels"
        return f"Region({where}: mean score {self.mean:.4g}, nearest {self.nearest})"


@dataclass(frozen=True, eq=False)
class RegionProposals:
    """The regions of one image, the largest first, and ``unknown`` (H, W) bool: every unknown pixel, in one or not."""

    unknown: np.ndarray
    regions: tuple[Region, ...]

    def __len__(self) -> int:
        return len(self.regions)

    def __iter__(self) -> Iterator[Region]:
        return iter(self.regions)

    def __getitem__(self, i: int) -> Region:
        return self.regions[i]

    def __repr__(self) -> str:
        return f"RegionProposals({len(self)} regions, {self.unknown.mean():.1%} of the image unknown)"


def find_regions(
    prediction: Prediction,
    features: np.ndarray,
    nearest: Callable[[np.ndarray, np.ndarray], tuple[str, float | None]],
    image_id: str = "",
    min_area: float = MIN_AREA,
    split_at: float = SPLIT_COSINE,
) -> RegionProposals:
    """Return the unknown regions of a prediction; ``KnowledgeBase.regions`` calls this with its own feature space.

    ``features`` (C, h, w) is the space in which objects are told apart; ``nearest(embedding (C,), labels (n,))``
    returns the known class nearest to a region and its distance. A region has at least ``min_area`` pixels (below 1: a
    share of the image), and holes smaller than that are filled. ``split_at`` is the cosine below which objects that
    touch become two regions (see ``split_pieces``); at -1 none do. Raises ``OwsegError`` for an area or a cosine out of
    range.
    """
    if not -1 <= split_at <= 1:
        raise OwsegError(f"regions are split at a cosine, from -1 (never) to 1, not at {split_at}.")
    unknown, z = prediction.open_set == UNKNOWN, features
    least = pixels(min_area, unknown.shape)
    ids = split_pieces(components(unknown, least), z, least, split_at)
    found = []
    for i, (rows, columns) in enumerate(ndimage.find_objects(ids), 1):
        mask = ids == i
        cover = cells(mask, z.shape[1:])
        # (C, cells) @ (cells,): each cell counts by the pixels of the region that lie in it.
        embedding = (z[:, cover > 0] @ cover[cover > 0] / cover.sum()).astype(np.float32)
        name, distance = nearest(embedding, prediction.labels[mask])
        scores = prediction.score[mask].astype(np.float64)
        box = columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start
        core = mask & (prediction.score >= min(scores.mean(), scores.max()))  # the mean of equals may exceed them
        sums = len(scores), float(scores.mean()), float(scores.max())
        found.append(Region(image_id, Rle.of(mask), Rle.of(core), box, *sums, embedding, name, distance))
    return RegionProposals(unknown, tuple(sorted(found, key=lambda r: -r.area)))


def pixels(area: float, shape: Sequence[int]) -> int:
    """Return an area in pixels, at least 1: below 1 it is a share of an image of ``shape`` (H, W)."""
    if not area > 0:
        raise OwsegError(f"an area is above 0, not {area}: below 1 a share of the image, from 1 on pixels.")
    return max(1, round(area * shape[0] * shape[1] if area < 1 else area))


def components(unknown: np.ndarray, least: int) -> np.ndarray:
    """Return the 4-connected pieces of ``unknown`` (H, W) with at least ``least`` pixels, numbered from 1; 0 elsewhere.

    A hole of fewer pixels that does not reach the border of the image is filled first.
    """
    holes, _ = ndimage.label(~unknown)
    # Background that reaches the border may go on outside of the image, so it is no hole.
    open_ = np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))
    small = np.bincount(holes.ravel()) < least
    # Number 0 is ``unknown`` itself.
    small[0], small[open_] = False, False
    pieces, _ = ndimage.label(unknown | small[holes])
    return _renumbered(pieces, least)


def split_pieces(pieces: np.ndarray, z: np.ndarray, least: int, apart: float = SPLIT_COSINE) -> np.ndarray:
    """Return ``pieces`` (H, W), numbered from 1, with those cut in two that show objects unlike each other.

    The directions of the cells of z (C, h, w) that a piece touches are merged by Ward's criterion, neighbours only.
    Down from the top of that tree, a piece is cut where its two sides have at least ``least`` pixels each and the
    cosine between their means is below ``apart``. The cells of a smaller side join the object of the nearest cell.
    Where a side is not connected in the pixels, each part of it with at least ``least`` pixels is a piece.
    """
    shape = z.shape[1:]
    at = _cell_of(pieces.shape, shape)
    out, count = np.zeros_like(pieces), 0
    for i, (rows, columns) in enumerate(ndimage.find_objects(pieces), 1):
        mask = pieces[rows, columns] == i
        # (h, w), pixels of the piece in each cell
        cover = cells(pieces == i, shape)
        sides = _sides(z, cover, least, apart)
        # From cells back to pixels, within the bounding box of the piece.
        local = np.where(mask, sides.ravel()[at[rows, columns]], 0)
        for side in range(1, int(sides.max()) + 1):
            # A piece that is not cut stays whole, whatever its size.
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
    """Return the cells of one piece (h, w) numbered from 1 by the object that they show; 0 elsewhere."""
    from sklearn.cluster import ward_tree
    from sklearn.feature_extraction.image import grid_to_graph

    inside = cover > 0
    ids = inside.astype(np.int64)
    # Too small to be two regions, or never to be cut.
    if cover.sum() < 2 * least or inside.sum() < 2 or apart <= -1:
        return ids
    x, weight = directions(z[:, inside].T), list(cover[inside])
    n = len(x)
    # Rows of children: node n + i joins tree[i], so the root is the last, 2 n - 2.
    tree = ward_tree(x, connectivity=grid_to_graph(*inside.shape, mask=inside))[0]
    for a, b in tree:
        weight.append(weight[a] + weight[b])

    def leaves(node: int) -> list[int]:
        # Not recursive: the tree of a large piece may be as deep as it has cells.
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

    number, left, objects = np.zeros(n, np.int64), [2 * n - 2], 0
    while left:
        whole = node = left.pop()
        while node >= n and weight[light := min(tree[node - n], key=weight.__getitem__)] < least:
            # A side too small to be a region goes along with the other one, further down the tree.
            node = int(tree[node - n].sum() - light)  # the other side
        # Two unit vectors: their dot product is the cosine.
        if node >= n and np.vdot(*directions(np.stack([mean(side) for side in tree[node - n]]))) < apart:
            left += list(tree[node - n])
        else:
            objects += 1
            number[leaves(whole)] = objects
    ids[inside] = number
    # Cells that went along with no side take the object of the nearest cell.
    nearest = ndimage.distance_transform_edt(ids == 0, return_distances=False, return_indices=True)
    return np.where(inside, ids[tuple(nearest)], 0)


def _renumbered(ids: np.ndarray, least: int) -> np.ndarray:
    """Return ``ids`` without those of fewer than ``least`` pixels, numbered from 1 without a gap."""
    keep = np.bincount(ids.ravel()) >= least
    keep[0] = False
    renumbered: np.ndarray = (np.cumsum(keep) * keep)[ids]
    return renumbered


def directions(x: np.ndarray) -> np.ndarray:
    """Return the rows of ``x`` (N, C) scaled to length 1; a row of zeros stays. Refuses NaN and infinite values."""
    if not np.isfinite(x).all():
        raise OwsegError("an embedding is not finite; check the weights and the images.")
    units: np.ndarray = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return units


def region_features(output: Output, space: RelativeMahalanobis | None) -> np.ndarray:
    """Return the features (C, h, w) float32 in which regions are compared.

    They are the whitened pyramid: the last layers keep little that tells new classes apart (docs/learning.md), and
    after whitening the directions in which known classes vary count for little; the origin is the mean of the known
    classes. Without a fitted ``space`` it is the last stage, less its mean over the image, most of which is known.
    """
    if space is not None:
        whitened: np.ndarray = space.whitened(output)[0].cpu().numpy()
        return whitened
    last = output.features[-1][0].float().cpu().numpy()
    centred: np.ndarray = last - last.mean((1, 2), keepdims=True)
    return centred


def nearest_class(
    space: RelativeMahalanobis | None, names: Sequence[str], embedding: np.ndarray, labels: np.ndarray
) -> tuple[str, float | None]:
    """Return the known class nearest to a region and its distance; without ``space`` its most frequent label, None."""
    if space is None:
        return names[int(np.bincount(labels).argmax())], None
    distances = (space.means.cpu() - torch.from_numpy(embedding)).norm(dim=1)
    distances = distances.masked_fill(space.counts.cpu() == 0, torch.inf)
    return names[int(distances.argmin())], float(distances.min())
