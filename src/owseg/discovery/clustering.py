"""Near-duplicates, groups and their order: pure functions on the embeddings of regions of many images.

N regions, C the dimensions of their embeddings (see ``KnowledgeBase.regions``), whose origin is the mean of the known
pixels. Regions are similar where they differ from the known in the same direction, so they are compared by cosine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from owseg.data.masks import box_iou
from owseg.errors import OwsegError
from owseg.knowledge.pieces import directions

DIMENSIONS = 16
"""The number of principal directions in which regions are compared."""


MERGE_COSINE = 0.23
"""Two groups are merged while the mean cosine between their regions is at least this."""


DUPLICATE_COSINE, DUPLICATE_IOU = 0.7, 0.3
"""The least cosine, and the least IoU of their boxes, of regions in neighbouring frames that are near-duplicates."""


MAX_PAIRWISE = 2000
"""The most regions whose cosines are computed pair by pair at once."""


def priority(share: np.ndarray, excess: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return the priority of each region, (N,) float64: ``share * excess * distance``, each at least 0.

    ``share`` is its area as a share of the image, ``excess`` its mean score above the threshold in units of the
    threshold, ``distance`` that to the nearest known class in units of sqrt(C). A region with a mean score below the
    threshold, as holes that were filled may give it, has priority 0.
    """
    factors = (np.asarray(v, np.float64) for v in (share, excess, distance))
    product: np.ndarray = np.prod([np.maximum(v, 0) for v in factors], axis=0)
    return product


def principal(embeddings: np.ndarray, dimensions: int = DIMENSIONS) -> np.ndarray:
    """Return ``embeddings`` (N, C) in their principal directions, (N, min(C, ``dimensions``)) float32.

    These are the first eigenvectors of ``Z^T Z``: a PCA that is not centred, since the origin has a meaning. Of several
    hundred directions most vary within one image only, and in all of them together any two regions are nearly
    orthogonal. Raises ``OwsegError`` for an embedding that is not finite.
    """
    z = np.asarray(embeddings, np.float64)
    if not np.isfinite(z).all():
        raise OwsegError("an embedding is not finite; check the weights and the images.")
    # eigh sorts ascending, so the last eigenvectors are the principal ones. (N, C) @ (C, dimensions)
    projected: np.ndarray = (z @ np.linalg.eigh(z.T @ z)[1][:, ::-1][:, :dimensions]).astype(np.float32)
    return projected


def find_duplicates(
    frames: np.ndarray, boxes: np.ndarray, embeddings: np.ndarray, priorities: np.ndarray,
    min_cosine: float = DUPLICATE_COSINE, min_iou: float = DUPLICATE_IOU,
) -> np.ndarray:  # fmt: skip
    """Return for each region the index of its representative, (N,) int64; one without near-duplicates is its own.

    Two regions are near-duplicates, such as one object filmed twice, if their ``frames`` (N,) are consecutive integers,
    the IoU of their ``boxes`` (N, 4: x, y, width, height, as shares of the image) is at least ``min_iou`` and the
    cosine of their ``embeddings`` (N, C) at least ``min_cosine``. Every connected component of that relation, over
    however many frames, has one representative: the region of the highest of ``priorities`` (N,), the first of equals.
    Memory is that of the regions of two frames at a time.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n, members, units = len(frames), members_of(frames), directions(embeddings)
    links: list[np.ndarray] = [np.zeros((0, 2), np.int64)]
    for frame, here in members.items():
        # Only pairs of consecutive frames are compared: no N x N matrix.
        if (then := members.get(frame + 1)) is not None:
            linked = (units[here] @ units[then].T >= min_cosine) & (box_iou(boxes[here], boxes[then]) >= min_iou)
            a, b = np.nonzero(linked)
            links.append(np.stack([here[a], then[b]], 1))
    rows, columns = np.concatenate(links).T
    _, chain = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), shape=(n, n)), directed=False)
    best: dict[int, int] = {}
    # The first of each chain in this order represents it.
    for i in sorted(range(n), key=lambda i: (-priorities[i], i)):
        best.setdefault(int(chain[i]), i)
    return np.array([best[int(c)] for c in chain], np.int64)


def cluster(embeddings: np.ndarray, min_cosine: float = MERGE_COSINE, max_pairwise: int = MAX_PAIRWISE) -> np.ndarray:
    """Return the number of each region's group, (N,) int64 from 0, numbered by their first members.

    Average linkage on ``embeddings`` (N, C): groups are merged while the mean cosine between two of them is at least
    ``min_cosine``, so the number of groups need not be known. Beyond ``max_pairwise`` regions, each further one joins
    the group to whose members its mean cosine is highest, if that is at least ``min_cosine``; those that join none are
    clustered in their turn. Memory is about 32 ``max_pairwise``^2 bytes. Deterministic. Raises ``OwsegError`` for an
    embedding that is not finite.
    """
    units = directions(embeddings)
    ids, count, left = np.full(len(units), -1, np.int64), 0, np.arange(len(units))
    while len(left):
        now, left = left[:max_pairwise], left[max_pairwise:]
        ids[now] = count + _average_linkage(units[now], min_cosine)
        first, count = count, int(ids.max()) + 1
        # The mean of unit vectors, not scaled to length 1: its dot product is the mean cosine with the members.
        centres = np.stack([units[now[own]].mean(0) for own in members_of(ids[now]).values()])
        for part in (left[i : i + max_pairwise] for i in range(0, len(left), max_pairwise)):
            cosines = units[part] @ centres.T
            joins = cosines.max(1) >= min_cosine
            ids[part[joins]] = first + cosines[joins].argmax(1)
        left = left[ids[left] < 0]
    # Renumbered by first member, as the labels of scikit-learn are in no order.
    _, first_at, inverse = np.unique(ids, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first_at))[inverse] if len(ids) else ids


def members_of(numbers: np.ndarray) -> dict[int, np.ndarray]:
    """Return the indices, ascending, at which each of ``numbers`` (N,) int stands; the numbers ascend, too."""
    order = np.argsort(numbers, kind="stable")
    found, starts = np.unique(numbers[order], return_index=True)
    return dict(zip(found.tolist(), np.split(order, starts[1:]), strict=False))  # of no number one empty part is left


def rank(groups: np.ndarray, priorities: np.ndarray, embeddings: np.ndarray) -> list[int]:
    """Return the numbers of the groups in the order of review: high priority first, similar groups later.

    Greedily, ``argmax_g  P_g (1 - max_{h before g} cos(g, h))``, where P_g is the sum of the ``priorities`` (N,) of its
    members and the cosine, at least 0, that between the mean directions of the two groups. ``groups`` (N,) are numbers
    from 0; ties go to the lower number.
    """
    count = int(np.max(groups, initial=-1)) + 1
    units = directions(embeddings)
    value = np.bincount(groups, priorities, count)
    means = directions(np.stack([units[own].mean(0) for own in members_of(groups).values()])) if count else units
    order: list[int] = []
    novelty, left = np.ones(count), np.ones(count, bool)
    for _ in range(count):
        g = int(np.where(left, value * novelty, -1).argmax())
        order.append(g)
        # 1 - max over the groups so far is the running minimum of 1 - cos.
        left[g], novelty = False, np.minimum(novelty, 1 - np.clip(means @ means[g], 0, 1))
    return order


def sort_by_typicality(members: Sequence[int] | np.ndarray, embeddings: np.ndarray) -> list[int]:
    """Return the ``members`` of a group, the most typical first: by the cosine with the group's mean direction."""
    indices = np.asarray(members, np.int64)
    units = directions(embeddings[indices])
    return [int(i) for i in indices[np.argsort(-(units @ units.mean(0)), kind="stable")]]


def _average_linkage(units: np.ndarray, min_cosine: float) -> np.ndarray:
    from sklearn.cluster import AgglomerativeClustering

    if len(units) < 2:
        return np.zeros(len(units), np.int64)
    # Rounding may give a distance below 0, which would be refused; and merging stops above the threshold, not at it.
    distances = np.clip(1 - units @ units.T, 0, 2)
    options = {"metric": "precomputed", "linkage": "average", "distance_threshold": np.nextafter(1 - min_cosine, 3)}
    labels: np.ndarray = AgglomerativeClustering(None, **options).fit(distances).labels_
    return labels
