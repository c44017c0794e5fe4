"""Regions of many images put into groups, so that one look judges many: pure functions on arrays.

N regions, C the dimensions of the space that they are compared in (``regions.space``), whose origin is the mean of what
is known. Regions are alike where they differ from the known in the same direction: by the cosine of their embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from owseg.errors import OwsegError
from owseg.knowledge.regions import directions

DIMENSIONS = 16
"""In how many directions regions are compared: those in which they vary most."""


MERGE_COSINE = 0.3
"""The mean cosine between two groups above which they are one."""


DUPLICATE_COSINE, OVERLAP = 0.7, 0.3
"""The cosine, and the IoU of their boxes, above which regions of neighbouring frames show the same thing."""


MAX_PAIRWISE = 2000
"""How many regions are compared each with each at once."""


def priority(share: np.ndarray, excess: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return how much it is worth to look at each region, (N,) float64: area x score x novelty.

    ``share`` is its area as a share of the image, ``excess`` how far its mean score lies above the threshold in units
    of the threshold, ``distance`` how far it lies from the nearest known class, in units of sqrt(C). What was filled
    or averaged below the threshold is worth nothing.
    """
    parts = (np.asarray(v, np.float64) for v in (share, excess, distance))
    return np.prod([np.maximum(v, 0) for v in parts], axis=0)


def principal(embeddings: np.ndarray, dimensions: int = DIMENSIONS) -> np.ndarray:
    """Return ``embeddings`` (N, C) in the directions in which they are longest, (N, min(C, ``dimensions``)) float32.

    They are the first eigenvectors of ``Z^T Z``; the origin, which is the known, stays. Of several hundred directions,
    most hold what is special to one image, and any two regions are nearly at right angles.
    """
    z = np.asarray(embeddings, np.float64)
    if not np.isfinite(z).all():
        raise OwsegError("an embedding is not finite; check the weights and the images.")
    return (z @ np.linalg.eigh(z.T @ z)[1][:, ::-1][:, :dimensions]).astype(np.float32)


def collapse(
    frames: np.ndarray, boxes: np.ndarray, embeddings: np.ndarray, values: np.ndarray,
    same: float = DUPLICATE_COSINE, overlap: float = OVERLAP,
) -> np.ndarray:  # fmt: skip
    """Return for each region the number of the one that stands for it, (N,) int64: frames of a video repeat themselves.

    Two regions show the same thing if their ``frames`` (N,) are numbers in a row, their ``boxes`` (N, 4: x, y, width,
    height, as shares of the image) have an IoU of at least ``overlap``, and the cosine of their ``embeddings`` (N, C)
    is at least ``same``. What is linked so, over however many frames, has one representative: the one of the highest
    ``values`` (N,), the first of equals. Memory is that of the regions of two frames at a time.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n, frames, units = len(frames), np.asarray(frames), directions(embeddings)
    members = {int(f): np.flatnonzero(frames == f) for f in np.unique(frames)}
    links: list[np.ndarray] = [np.zeros((0, 2), np.int64)]
    for frame, here in members.items():
        if (then := members.get(frame + 1)) is not None:
            linked = (units[here] @ units[then].T >= same) & (_box_iou(boxes[here], boxes[then]) >= overlap)
            a, b = np.nonzero(linked)
            links.append(np.stack([here[a], then[b]], 1))
    rows, columns = np.concatenate(links).T
    _, chain = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), shape=(n, n)), directed=False)
    best: dict[int, int] = {}
    for i in sorted(range(n), key=lambda i: (-values[i], i)):
        best.setdefault(int(chain[i]), i)
    return np.array([best[int(c)] for c in chain], np.int64)


def group(embeddings: np.ndarray, alike: float = MERGE_COSINE, room: int = MAX_PAIRWISE) -> np.ndarray:
    """Return the number of each region's group, (N,) int64 from 0, in the order of their first members.

    Groups are merged by average linkage as long as the mean cosine between two of them is at least ``alike``; how many
    there are is found, not asked. Beyond ``room`` regions, each further one joins the group to whose members its mean
    cosine is highest and at least ``alike``, and those that join none are grouped in their turn, so memory is bounded
    by about 32 ``room``^2 bytes. Deterministic. Raises ``OwsegError`` for an embedding that is not finite.
    """
    units = directions(embeddings)
    ids, count, left = np.full(len(units), -1, np.int64), 0, np.arange(len(units))
    while len(left):
        now, left = left[:room], left[room:]
        ids[now] = count + _linked(units[now], alike)
        first, count = count, int(ids.max()) + 1
        centres = np.stack([units[now][ids[now] == g].mean(0) for g in range(first, count)])
        nearness = units[left] @ centres.T
        joins = nearness.max(1, initial=-1) >= alike
        ids[left[joins]] = first + nearness[joins].argmax(1)
        left = left[~joins]
    _, at, inverse = np.unique(ids, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(at))[inverse] if len(ids) else ids


def rank(groups: np.ndarray, values: np.ndarray, embeddings: np.ndarray) -> list[int]:
    """Return the groups in the order in which to look at them: what is worth most, and unlike what was looked at.

    Greedily, ``argmax_g  V_g (1 - max_{h before g} cos(g, h))``, V_g the sum of its members' ``values`` (N,), the
    cosine that between the groups' mean directions and at least 0. ``groups`` (N,) are numbers from 0; ties go to the
    lower number.
    """
    count = int(np.max(groups, initial=-1)) + 1
    units = directions(embeddings)
    value = np.bincount(groups, values, count)
    means = directions(np.stack([units[groups == g].mean(0) for g in range(count)])) if count else units
    order: list[int] = []
    freedom, left = np.ones(count), np.ones(count, bool)
    for _ in range(count):
        g = int(np.where(left, value * freedom, -1).argmax())
        order.append(g)
        left[g], freedom = False, np.minimum(freedom, 1 - np.clip(means @ means[g], 0, 1))
    return order


def typical(members: Sequence[int] | np.ndarray, embeddings: np.ndarray) -> list[int]:
    """Return the ``members`` of a group, the most typical first: by the cosine with the group's mean direction."""
    numbers = np.asarray(members, np.int64)
    units = directions(embeddings[numbers])
    return [int(i) for i in numbers[np.argsort(-(units @ units.mean(0)), kind="stable")]]


def _linked(units: np.ndarray, alike: float) -> np.ndarray:
    from sklearn.cluster import AgglomerativeClustering

    if len(units) < 2:
        return np.zeros(len(units), np.int64)
    # A distance of rounding below 0 would be refused; merging stops above the threshold, not at it.
    apart = np.clip(1 - units @ units.T, 0, 2)
    options = {"metric": "precomputed", "linkage": "average", "distance_threshold": np.nextafter(1 - alike, 3)}
    return AgglomerativeClustering(None, **options).fit(apart).labels_


def _box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the IoU of each box of ``a`` (n, 4) with each of ``b`` (m, 4), (n, m)."""
    a, b = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    both = np.clip(high - low, 0, None).prod(-1)
    return both / np.maximum(a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - both, 1e-12)
