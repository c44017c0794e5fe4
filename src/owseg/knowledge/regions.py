"""Regions: the unknown pixels of an image as connected pieces, each of one object where they can be told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from owseg.data.masks import Rle
from owseg.errors import OwsegError
from owseg.knowledge.pieces import SPLIT_COSINE, cell_of, pieces_above, pixels, pixels_per_cell, split_pieces
from owseg.openset import Threshold
from owseg.scorers import ON_ROAD
from owseg.scorers._features import cells
from owseg.scorers.mahalanobis import RelativeMahalanobis
from owseg.types import Output

MIN_AREA = 0.002
"""The smallest region by default, as a share of the image: 345 pixels of 480x360."""

OBSTACLE_AREA = 2.5e-5
"""The smallest obstacle, as a share of the image: 50 pixels of 1920x1080 (SegmentMeIfYouCan, Chan et al. 2021)."""


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
class RegionFeatures:
    """The features of one image in which objects are told apart, on a grid of ``shape`` (h, w).

    ``at`` returns those of some cells by their numbers, row by row: (n,) -> (n, C) float32.
    """

    shape: tuple[int, int]
    at: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def of_map(cls, z: np.ndarray) -> RegionFeatures:
        """Return those of a map (C, h, w)."""
        return cls((z.shape[1], z.shape[2]), lambda numbers: z.reshape(len(z), -1)[:, numbers].T)

    def map_of(self, numbers: np.ndarray) -> np.ndarray:
        """Return the map (C, h, w) of the cells with these ``numbers`` (n,), and 0 in the others."""
        found = self.at(numbers)
        z = np.zeros((found.shape[1], *self.shape), found.dtype)
        z.reshape(len(z), -1)[:, numbers] = found.T
        return z


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


def min_area_of(scorer: str) -> float:
    """Return the smallest region, as a share of the image, of a score: obstacles on the road may be small."""
    return OBSTACLE_AREA if scorer.endswith(ON_ROAD) else MIN_AREA


def find_regions(
    unknown: np.ndarray,
    score: np.ndarray,
    labels: np.ndarray,
    threshold: Threshold,
    features: RegionFeatures,
    nearest: Callable[[np.ndarray, np.ndarray], tuple[str, float | None]],
    image_id: str = "",
    min_area: float = MIN_AREA,
    split_at: float = SPLIT_COSINE,
) -> RegionProposals:
    """Return the regions of the ``unknown`` pixels (H, W) bool; ``KnowledgeBase`` calls this with its feature space.

    ``score`` (H, W) and the ``threshold`` say which count, ``labels`` (H, W) are the closed map. ``features`` are the
    space in which objects are told apart; ``nearest(embedding (C,), labels (n,))`` returns the known class nearest to a
    region and its distance. A region has at least ``min_area`` pixels (below 1: a share of the image), and holes
    smaller than that are filled. Where the threshold has one for regions, they are what ``pieces_above`` it returns,
    else all unknown pixels. ``split_at`` is the cosine below which objects that touch become two regions (see
    ``split_pieces``); at -1 none do. Raises ``OwsegError`` for an area or a cosine out of range.
    """
    if not -1 <= split_at <= 1:
        raise OwsegError(f"regions are split at a cosine, from -1 (never) to 1, not at {split_at}.")
    least = pixels(min_area, unknown.shape)
    pieces = pieces_above(score, unknown, threshold, least)
    if not pieces.any():
        return RegionProposals(unknown, ())
    at, found = cell_of(unknown.shape, features.shape), []
    z = features.map_of(np.unique(at[pieces > 0]))
    ids = split_pieces(pieces, z, least, split_at)
    # All within the bounding box of a region: there may be thousands in an image.
    for i, (rows, columns) in enumerate(ndimage.find_objects(ids), 1):
        place = rows, columns
        mask = ids[place] == i
        cover = pixels_per_cell(at[place][mask], z.shape[1:])
        # (C, cells) @ (cells,): each cell counts by the pixels of the region that lie in it.
        embedding = (z[:, cover > 0] @ cover[cover > 0] / cover.sum()).astype(np.float32)
        name, distance = nearest(embedding, labels[place][mask])
        scores = score[place][mask].astype(np.float64)
        core = mask & (score[place] >= min(scores.mean(), scores.max()))  # the mean of equals may exceed them
        placed = partial(Rle.placed, top=rows.start, left=columns.start, size=(ids.shape[0], ids.shape[1]))
        found.append(Region(
            image_id=image_id,
            mask=placed(mask),
            core=placed(core),
            box=(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start),
            area=len(scores),
            mean=float(scores.mean()),
            peak=float(scores.max()),
            embedding=embedding,
            nearest=name,
            distance=distance,
        ))  # fmt: skip
    return RegionProposals(unknown, tuple(sorted(found, key=lambda r: -r.area)))


def region_features(output: Output, space: RelativeMahalanobis | None) -> RegionFeatures:
    """Return the features of ``region_map``, computed for the cells alone that are asked for."""
    if space is None:
        return RegionFeatures.of_map(region_map(output, space)[0].cpu().numpy())
    height, width = output.features[space.level].shape[-2:]

    def at(numbers: np.ndarray) -> np.ndarray:
        x = cells(output, space.level, space.channels)[0].flatten(0, 1)
        found: np.ndarray = space.whiten(x[torch.from_numpy(numbers).to(x.device)].float()).cpu().numpy()
        return found

    return RegionFeatures((height, width), at)


def region_map(output: Output, space: RelativeMahalanobis | None) -> Tensor:
    """Return the features (B, C, h, w) float32 in which regions are compared; a graph can be traced through it.

    They are the whitened pyramid: the last layers keep little that tells new classes apart (docs/learning.md), and
    after whitening the directions in which known classes vary count for little; the origin is the mean of the known
    classes. Without a fitted ``space`` it is the last stage, less its mean over the image, most of which is known.
    """
    if space is not None:
        return space.whitened(output)
    last = output.features[-1].float()
    return last - last.mean((2, 3), keepdim=True)


def class_means(space: RelativeMahalanobis | None) -> np.ndarray | None:
    """Return the means (K, C) float32 of the known classes, infinite for one without a cell; None without a space."""
    if space is None:
        return None
    means: np.ndarray = space.means.masked_fill(space.counts[:, None] == 0, torch.inf).cpu().numpy()
    return means


def nearest_class(
    means: np.ndarray | None, names: Sequence[str], embedding: np.ndarray, labels: np.ndarray
) -> tuple[str, float | None]:
    """Return the known class nearest to a region and its distance; without ``means`` its most frequent label, None."""
    if means is None:
        return names[int(np.bincount(labels).argmax())], None
    distances = np.linalg.norm(means - embedding, axis=1)
    return names[int(distances.argmin())], float(distances.min())
