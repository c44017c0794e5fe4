"""A score pooled over segments of the image: ``joint@segments`` is ``joint`` with the edges of things.

Scores come from a coarse grid, so they spread over the edges of a thing. Segments found in the image alone, at several
scales, say where things may end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from owseg.errors import OwsegError
from owseg.models.ops import resize, resize_image, size_of, working_size
from owseg.scorers.contrast import contrasted
from owseg.types import Output, Scorer

ROWS = 270
"""The shorter side, in pixels, at which images are segmented: half of the usual working size, a quarter of its cost."""

SCALES = (28, 56, 112, 225, 450)
"""k of Felzenszwalb and Huttenlocher (in 1/255), and also the least size of a segment in pixels; finest first."""

SIGMA = 0.8
"""The standard deviation, in pixels, of the Gaussian that smooths an image before it is segmented."""


@dataclass(frozen=True)
class Segments:
    """A ``Scorer``: another ``scorer``, its map ``pooled`` over segments of ``Output.image``, and ``contrasted``."""

    scorer: Scorer

    def __call__(self, output: Output) -> Tensor:
        """Return the score (B, h, w) float32, h or w being ``ROWS``.

        Raises ``OwsegError`` for an output without its image, which a network alone returns: it is ``Engine`` that
        adds it.
        """
        if output.image is None:
            raise OwsegError("a score over segments needs the image; run the network through KnowledgeBase.forward.")
        small, scores = _resized(output.image), self.scorer(output)
        maps = resize(scores[:, None].float(), small.shape[1:3])[:, 0].cpu().numpy()
        found = [pooled(score, segmentations(image)) for score, image in zip(maps, small, strict=True)]
        return contrasted(torch.from_numpy(np.stack(found))).to(scores.device)


def segment_ids(image: np.ndarray) -> np.ndarray:
    """Return the segments of ``image`` (3, H, W) uint8 at the middle scale: ids from 0, (h, w), h or w being ``ROWS``.

    See ``segmentations``.
    """
    return segmentations(_resized(torch.from_numpy(image)[None])[0], (SCALES[0], SCALES[len(SCALES) // 2]))[-1]


def pooled(score: np.ndarray, maps: Sequence[np.ndarray]) -> np.ndarray:
    """Return ``score`` (h, w) pooled over segments, (h, w) ids from 0, the mean over several ``maps`` of them.

    A pixel keeps of its deviation d from the mean of its segment the share ``(v + d^2) / (v + d^2 + V)``, where v is
    the variance of the score in the segment and V that in the image, and segments keep their means. So a segment
    becomes flat where the score is about even in it, and stays as it is where the score says that it holds two things,
    or one much smaller than itself. The result follows the score under ``a s + b``, a > 0. float32; a score that is not
    finite somewhere is returned as it is.
    """
    values = score.astype(np.float64)
    if not np.isfinite(values).all() or not (total := values.var()) > 0:
        return score.astype(np.float32)
    found = np.zeros_like(values)
    for ids in maps:
        mean = _means(values, ids)
        deviation = values - mean
        square = np.square(deviation)
        own = _means(square, ids) + square  # v + d^2
        kept = own / (own + total) * deviation
        found += mean + kept - _means(kept, ids)
    return (found / len(maps)).astype(np.float32)


def segmentations(image: np.ndarray, scales: Sequence[int] = SCALES) -> list[np.ndarray]:
    """Return segments of ``image`` (h, w, 3) uint8 at several ``scales``, finest first, as maps (h, w) of ids from 0.

    The first is that of Felzenszwalb and Huttenlocher (IJCV 2004), by scikit-image. In the others, its segments are
    merged by the same rule, neighbours of least colour difference first, at a fraction of the time.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.segmentation import felzenszwalb

    finest = felzenszwalb(image, scales[0], SIGMA, scales[0], channel_axis=-1)
    smooth = gaussian_filter(image / 255.0, (SIGMA, SIGMA, 0), mode="nearest")
    pairs, differences = boundaries(finest, smooth)
    areas = np.bincount(finest.ravel())
    coarser = [merged(pairs, differences, areas, scale / 255, scale)[finest] for scale in scales[1:]]
    return [finest, *coarser]


def boundaries(ids: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs (n, 2) of segments that touch, and the least difference of colour over the border of each (n,).

    ``ids`` (h, w) numbers the segments from 0, ``image`` is (h, w, 3); differences are Euclidean, pixels 4-connected.
    """
    sides = ((ids[:, :-1], ids[:, 1:], image[:, :-1], image[:, 1:]), (ids[:-1], ids[1:], image[:-1], image[1:]))
    keys, differences = [], []
    count = int(ids.max()) + 1
    for one, other, colour, beside in sides:
        border = one != other
        low, high = np.minimum(one[border], other[border]), np.maximum(one[border], other[border])
        keys.append(low.astype(np.int64) * count + high)
        differences.append(np.linalg.norm(colour[border] - beside[border], axis=-1))
    pairs, at = np.unique(np.concatenate(keys), return_inverse=True)
    least = np.full(len(pairs), np.inf)
    np.minimum.at(least, at, np.concatenate(differences))
    return np.stack([pairs // count, pairs % count], 1), least


def merged(pairs: np.ndarray, differences: np.ndarray, areas: np.ndarray, k: float, least: int) -> np.ndarray:
    """Return for each of n segments the number, from 0, of the one that it is merged into, (n,).

    Pairs are taken from the least difference up; two segments merge where it is at most ``max difference merged so far
    + k / area`` of each of them. Then those of fewer than ``least`` pixels join their nearest neighbour in colour.
    """
    parent, area, inside = list(range(len(areas))), areas.tolist(), [0.0] * len(areas)

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    order = np.argsort(differences, kind="stable")
    edges = list(zip(pairs[order].tolist(), differences[order].tolist(), strict=True))
    for (a, b), difference in edges:
        a, b = root(a), root(b)
        if a != b and difference <= min(inside[a] + k / area[a], inside[b] + k / area[b]):
            parent[b], inside[a] = a, difference
            area[a] += area[b]
    for (a, b), _ in edges:
        a, b = root(a), root(b)
        if a != b and min(area[a], area[b]) < least:
            parent[b] = a
            area[a] += area[b]
    numbers: np.ndarray = np.unique([root(i) for i in range(len(areas))], return_inverse=True)[1]
    return numbers


def _resized(images: Tensor) -> np.ndarray:
    """Return ``images`` (B, 3, H, W) at the size at which they are segmented, (B, h, w, 3) uint8."""
    size = working_size(size_of(images), ROWS)
    return resize_image(images.float(), size).round().clamp(0, 255).byte().movedim(1, -1).cpu().numpy()


def _means(values: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return the mean of ``values`` (h, w) in the segment of each pixel, (h, w)."""
    sums, counts = np.bincount(ids.ravel(), values.ravel()), np.bincount(ids.ravel())
    means: np.ndarray = (sums / np.maximum(counts, 1))[ids]
    return means
