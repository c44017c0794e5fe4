"""Pieces of a mask: connected, large enough, and cut in two where they show objects unlike each other."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from owseg.errors import OwsegError
from owseg.openset import Threshold

GROWTH = 0.7
"""How far above the pixels' threshold every pixel of a region is, in units of that (``Threshold.unit``)."""

EXTENT = 0.5
"""A region ends where its score above the pixels' threshold falls below this share of its highest: half maximum."""

SPLIT_COSINE = 0.5
"""The cosine between the two sides of a region below which they are two regions (see ``split_pieces``)."""


def pixels(area: float, shape: Sequence[int]) -> int:
    """Return an area in pixels, at least 1: below 1 it is a share of an image of ``shape`` (H, W)."""
    if not area > 0:
        raise OwsegError(f"an area is above 0, not {area:g}: below 1 a share of the image, from 1 on pixels.")
    return max(1, round(area * shape[0] * shape[1] if area < 1 else area))


def components(unknown: np.ndarray, least: int) -> np.ndarray:
    """Return the 4-connected pieces of ``unknown`` (H, W) with at least ``least`` pixels, numbered from 1; 0 elsewhere.

    A hole of fewer pixels that does not reach the border of the image is filled first.
    """
    out = np.zeros(unknown.shape, np.int32)
    if not unknown.any():
        return out
    # Outside of the bounding box there is nothing to number and no hole.
    (box,) = ndimage.find_objects(unknown.astype(np.int8))
    inside = unknown[box]
    holes, _ = ndimage.label(~inside)
    # Background that reaches the border goes on outside of it, or may where the image ends, so it is no hole.
    open_ = np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))
    small = np.bincount(holes.ravel()) < least
    # Number 0 is ``unknown`` itself.
    small[0], small[open_] = False, False
    pieces, _ = ndimage.label(inside | small[holes])
    out[box] = _renumbered(pieces, least)
    return out


def pieces_above(score: np.ndarray, unknown: np.ndarray, threshold: Threshold, least: int) -> np.ndarray:
    """Return the pieces of ``unknown`` (H, W) that count, numbered from 1; 0 elsewhere.

    With a threshold of regions, they are the ``rated_pieces`` of higher evidence than that; without, all of at least
    ``least`` pixels.
    """
    if threshold.regions is None:
        return components(unknown, least)
    pieces, found = rated_pieces(score, unknown, threshold, least)
    return _renumbered(np.where(np.r_[False, found > threshold.regions.value][pieces], pieces, 0), 1)


def rated_pieces(
    score: np.ndarray, unknown: np.ndarray, threshold: Threshold, least: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return n pieces (H, W), numbered from 1, and how surely each is a thing, (n,) float64.

    They are the ``sure_pieces`` at their ``half_maximum``; a part of one has the ``evidence`` of all of it.
    """
    whole = sure_pieces(score, unknown, threshold, least)
    parts = half_maximum(score, whole, threshold, least)
    return parts, evidence(score, whole, threshold)[parents(whole, parts) - 1]


def parents(pieces: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Return the number of the piece (H, W) that each of n ``parts`` (H, W) lies in, (n,) int64."""
    found = np.zeros(parts.max() + 1, np.int64)
    found[parts[pieces > 0]] = pieces[pieces > 0]  # a hole that was filled is in no piece
    return found[1:]


def sure_pieces(score: np.ndarray, unknown: np.ndarray, threshold: Threshold, least: int) -> np.ndarray:
    """Return the connected pixels that are ``unknown`` and have a ``score`` (H, W) above ``value + GROWTH unit``.

    The haze around a thing is in none of these pieces. Each has at least ``least`` pixels; numbered from 1.
    """
    return components(unknown & (score > np.float32(threshold.value + GROWTH * threshold.unit)), least)


def half_maximum(
    score: np.ndarray, pieces: np.ndarray, threshold: Threshold, least: int, extent: float = EXTENT
) -> np.ndarray:
    """Return ``pieces`` (H, W) where ``score - value`` is at least ``extent`` times its highest in the piece.

    What is around a thing in a coarse map of scores is lower than the thing, whatever the score of that. Each connected
    part of at least ``least`` pixels is a piece; a piece without such a part stays whole. Numbered from 1.
    """
    inside = pieces > 0
    of, excess, kept = pieces[inside], score[inside].astype(np.float64) - threshold.value, inside.copy()
    highest, narrowed = np.zeros(of.max(initial=0) + 1), np.zeros(of.max(initial=0) + 1, bool)
    np.maximum.at(highest, of, excess)
    kept[inside] = excess >= extent * highest[of]
    parts = components(kept, least) > 0
    narrowed[pieces[parts]] = True
    kept[inside] = parts[inside] | ~narrowed[of]
    return components(parts | kept, least)


def evidence(score: np.ndarray, pieces: np.ndarray, threshold: Threshold) -> np.ndarray:
    """Return for each of n ``pieces`` (H, W) how surely it is a thing, (n,) float64.

    It is ``e a^(1/4)``, with e the mean of ``max(0, score - value) / unit`` over its pixels and a its share of the
    image: a large piece counts at a lower score than a small one.
    """
    inside = pieces > 0
    of, excess = pieces[inside], np.maximum(score[inside].astype(np.float64) - threshold.value, 0) / threshold.unit
    areas, sums = np.bincount(of)[1:], np.bincount(of, excess)[1:]
    found: np.ndarray = sums / areas * (areas / pieces.size) ** 0.25
    return found


def split_pieces(pieces: np.ndarray, z: np.ndarray, least: int, apart: float = SPLIT_COSINE) -> np.ndarray:
    """Return ``pieces`` (H, W), numbered from 1, with those cut in two that show objects unlike each other.

    The directions of the cells of z (C, h, w) that a piece touches are merged by Ward's criterion, neighbours only.
    Down from the top of that tree, a piece is cut where its two sides have at least ``least`` pixels each and the
    cosine between their means is below ``apart``. The cells of a smaller side join the object of the nearest cell.
    Where a side is not connected in the pixels, each part of it with at least ``least`` pixels is a piece.
    """
    shape = z.shape[1:]
    at = cell_of(pieces.shape, shape)
    out, count = np.zeros_like(pieces), 0
    # All within the bounding box of a piece: there may be thousands in an image.
    for i, box in enumerate(ndimage.find_objects(pieces), 1):
        mask = pieces[box] == i
        cover = pixels_per_cell(at[box][mask], shape)
        (around,) = ndimage.find_objects((cover > 0).astype(np.int8))
        sides = np.zeros(shape, np.int64)
        sides[around] = _sides(z[:, around[0], around[1]], cover[around], least, apart)
        # From cells back to pixels.
        local = np.where(mask, sides.ravel()[at[box]], 0)
        for side in range(1, int(sides.max()) + 1):
            # A piece that is not cut stays whole, whatever its size.
            parts = _renumbered(ndimage.label(local == side)[0], least if sides.max() > 1 else 1)
            out[box][parts > 0] = parts[parts > 0] + count
            count += int(parts.max(initial=0))
        if not (out[box] * mask).any():  # no part of either side is large enough
            count += 1
            out[box][mask] = count
    return out


def pixels_per_cell(at: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return how many pixels lie in each cell of a grid of ``shape`` (h, w), float64; ``at`` (n,) are their cells."""
    return np.bincount(at, minlength=shape[0] * shape[1]).reshape(tuple(shape)).astype(np.float64)


def cell_of(size: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Return the number, row by row, of the cell of a grid (h, w) that each pixel lies in, (H, W)."""
    rows, columns = (np.arange(n) * m // n for n, m in zip(size, shape, strict=True))
    return rows[:, None] * shape[1] + columns


def _sides(z: np.ndarray, cover: np.ndarray, least: int, apart: float) -> np.ndarray:
    """Return the cells of one piece (h, w) numbered from 1 by the object that they show; 0 elsewhere.

    ``z`` (C, h, w) are the features, and ``cover`` (h, w) how many pixels of the piece lie in each cell.
    """
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
    with warnings.catch_warnings():
        # In an image of fewer pixels than the grid has cells, those of a piece do not touch: the nearest are joined.
        warnings.filterwarnings("ignore", "the number of connected components")
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

    object_of, subtrees, objects = np.zeros(n, np.int64), [2 * n - 2], 0
    while subtrees:
        top = node = subtrees.pop()
        while node >= n and weight[smaller := min(tree[node - n], key=weight.__getitem__)] < least:
            # A side too small to be a region goes along with the other one, further down the tree.
            node = int(tree[node - n].sum() - smaller)  # the other side
        # Two unit vectors: their dot product is the cosine.
        if node >= n and np.vdot(*directions(np.stack([mean(side) for side in tree[node - n]]))) < apart:
            subtrees += list(tree[node - n])
        else:
            objects += 1
            object_of[leaves(top)] = objects
    ids[inside] = object_of
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
