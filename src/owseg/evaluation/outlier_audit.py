"""An audit of outlier exposure: which training outliers resemble the anomalies of a test set?

A network trained with pasted cows finds cows, which does not show that it would find a sofa. Metrics on anomalies are
therefore reported twice: with all training outliers, and without those that share a name or the appearance of an
anomaly of the test set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from math import isnan, nan
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from owseg._progress import track
from owseg.data.dataset import DataSet
from owseg.data.outliers import Outliers, normalized, synonyms_of
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.labels import UNKNOWN
from owseg.models.backbones.base import Backbone
from owseg.models.engine import Engine, prepared
from owseg.models.network import BackboneAlone
from owseg.models.over_images import over_images
from owseg.types import Forward, Output, Sample

T = TypeVar("T")

SIDE = 224
"""The side of the square, in pixels, that an object is resized to: the input size of ImageNet classifiers."""

AT_ONCE = 256
"""So many squares are in memory at most, 200 KB each."""

ROWS = 1024
"""The outliers that are compared with all others at once: 4 KiB of memory an outlier."""


@dataclass(frozen=True)
class Match:
    """One anomaly of a test set and the ``categories`` of the training outlier that is most similar to it.

    ``similarity`` is the cosine in [-1, 1] of their features, ``area`` the size of the anomaly in pixels of ``image``.
    """

    image: str
    area: int
    categories: frozenset[str]
    similarity: float


@dataclass(frozen=True)
class Audit:
    """What the training outliers and a test set have in common.

    ``by_name`` are the categories that are a class of the test set under the same name or a synonym; ``matches`` the
    anomalies, each with its most similar outlier. ``precision_at_1`` is the share of outliers whose most similar other
    outlier is of their category, in [0, 1]: how far the similarity can be trusted. NaN for a single outlier.
    """

    by_name: tuple[str, ...]
    matches: tuple[Match, ...] = field(repr=False)
    precision_at_1: float

    @property
    def overlapping(self) -> tuple[str, ...]:
        """The categories to leave out for strict metrics: those of ``by_name`` and those of ``matches``."""
        return tuple(sorted(frozenset(self.by_name).union(*(m.categories for m in self.matches))))

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON; NaN is null."""
        return {
            "by_name": list(self.by_name),
            "matches": [{**vars(m), "categories": sorted(m.categories)} for m in self.matches],
            "overlapping": list(self.overlapping),
            "precision_at_1": None if isnan(self.precision_at_1) else self.precision_at_1,
        }

    def text(self) -> str:
        """Return, for people, how far the similarity can be trusted and which categories to leave out."""
        trust = f"For {self.precision_at_1:.0%} of the outliers the most similar other outlier is of the same category."
        single = "There is only one outlier, so how far similarity can be trusted is unknown."
        return (
            f"{single if isnan(self.precision_at_1) else trust}\nBy name: {', '.join(self.by_name) or 'none'}.\n"
            f"For strict metrics train again with --exclude {','.join(self.overlapping)!r}."
        )


def audit(outliers: Outliers, data: DataSet, forward: Forward, min_area: int = 400) -> Audit:
    """Compare the categories of ``outliers`` with the anomalies of ``data``, by name and by appearance.

    Every connected UNKNOWN region of at least ``min_area`` pixels is compared with every outlier by the cosine of their
    ``object_features``; ``forward`` is that of ``backbone_engine``. Raises ``OwsegError`` where no image has such a
    region, or an outlier has no pixel.
    """
    squares = ((None, _square_of(outliers, i)) for i in range(len(outliers)))
    known = np.stack([x for _, x in track(_features(forward, squares), "outliers", len(outliers))])
    matches = []
    for (image, area), features in _features(forward, _anomalies(data, min_area)):
        # (n, C) @ (C,)
        cosines = known @ features
        best = int(cosines.argmax())
        matches.append(Match(image, area, outliers.categories[best], float(cosines[best])))
    if not matches:
        raise OwsegError(f"{data.source.name} has no anomaly of {min_area} pixels or more; there is nothing to audit.")
    by_name = categories_named(outliers, data.unknown_classes())
    return Audit(by_name, tuple(matches), _precision_at_1(known, outliers))


def categories_named(outliers: Outliers, classes: Iterable[str]) -> tuple[str, ...]:
    """Return the categories of ``outliers`` that have a name of ``classes``, or a usual synonym of one."""
    wanted = synonyms_of(classes)
    return tuple(c for c in outliers.counts() if normalized(c) in wanted)


def backbone_engine(kb: KnowledgeBase, backbone: Backbone | None = None) -> Engine:
    """Return what runs a backbone, by default that of ``kb``, where and how ``kb`` is run."""
    engine = kb.engine()
    alone = BackboneAlone(kb.network.backbone if backbone is None else backbone.to(engine.device))
    return replace(engine, network=prepared(alone), residual=None)


def square(image: np.ndarray, mask: np.ndarray) -> Sample | None:
    """Return an object, ``mask`` (H, W) bool of ``image`` (3, H, W) uint8, in a square of ``SIDE`` pixels.

    It is cut out and resized on grey, so that neither its surroundings nor its size matter; the target is 1 where it
    is, and else 0. None for an empty mask.
    """
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    if not len(rows):
        return None
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # On grey, as a background would decide the similarity of small objects.
    cut = torch.from_numpy(np.where(mask[box], image[:, box[0], box[1]], 127).astype(np.float32))[None]
    factor = SIDE / max(cut.shape[2:])
    height, width = (max(1, round(factor * side)) for side in cut.shape[2:])
    resized = F.interpolate(cut, size=(height, width), mode="bilinear", antialias=factor < 1)
    canvas, where = np.full((3, SIDE, SIDE), 127, np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    canvas[:, :height, :width] = resized[0].round().clamp(0, 255).byte().numpy()
    where[:height, :width] = F.interpolate(torch.from_numpy(mask[box])[None, None].byte(), size=(height, width))[0, 0]
    return Sample(canvas, where, "")


def object_features(sample: Sample, output: Output) -> np.ndarray:
    """Return the features (C,) of the object in a ``square``, of length 1: the mean of the last feature map over it."""
    features, covered = output.features[-1], torch.from_numpy(sample.mask_for("an audit"))
    # A cell counts by the share of it that the object covers: most cells of a thin object are half empty.
    weight = F.adaptive_avg_pool2d(covered[None, None].to(features), (features.shape[-2], features.shape[-1]))
    mean = (features * weight).sum((0, 2, 3)) / weight.sum().clamp(min=1e-6)
    normalised: np.ndarray = F.normalize(mean, dim=0).cpu().numpy()
    return normalised


def _features(forward: Forward, squares: Iterable[tuple[T, Sample]]) -> Iterator[tuple[T, np.ndarray]]:
    """Yield the ``object_features`` of each of ``squares``, with what came beside it."""
    squares = iter(squares)
    while some := list(islice(squares, AT_ONCE)):
        found = over_images(forward, [sample for _, sample in some], object_features)
        yield from zip((about for about, _ in some), found, strict=True)


def _square_of(outliers: Outliers, i: int) -> Sample:
    outlier = outliers.read(i)
    found = square(outlier.image, outlier.mask)
    if found is None:
        raise OwsegError(f"the outlier {outliers.ids[i]} is empty: its mask marks no pixel; remove it.")
    return found


def _anomalies(data: DataSet, min_area: int) -> Iterator[tuple[tuple[str, int], Sample]]:
    """Yield the name of the image and the area of each anomaly of ``min_area`` pixels, and the ``square`` of it."""
    for sample in track(data, "anomalies", len(data)):
        if sample.target is None:
            continue
        unknown = torch.from_numpy(sample.target == UNKNOWN)[None, None].float()
        # The mask may be finer than the image, from which the features are.
        mask = F.interpolate(unknown, sample.image.shape[1:], mode="nearest-exact")[0, 0].bool().numpy()
        regions, count = ndimage.label(mask, np.ones((3, 3)))  # 8-connected, as components are in the metrics
        areas = np.bincount(regions.ravel(), minlength=count + 1)
        for number in range(1, count + 1):
            if areas[number] >= min_area and (found := square(sample.image, regions == number)):
                yield (sample.id, int(areas[number])), found


def summary(result: Audit) -> list[tuple[str, ...]]:
    """Return rows (categories, anomalies, area, mean similarity) of text, most anomalies first."""
    by_categories: dict[frozenset[str], list[Match]] = {}
    for match in result.matches:
        by_categories.setdefault(match.categories, []).append(match)
    rows: list[tuple[str, ...]] = []
    for categories, own in sorted(by_categories.items(), key=lambda item: -len(item[1])):
        mean = np.mean([m.similarity for m in own])
        rows.append(("+".join(sorted(categories)), str(len(own)), str(sum(m.area for m in own)), f"{mean:.2f}"))
    return rows


def _precision_at_1(features: np.ndarray, outliers: Outliers) -> float:
    if len(features) < 2:
        return nan
    nearest, categories = np.zeros(len(features), np.int64), outliers.categories
    for start in range(0, len(features), ROWS):
        cosines = features[start : start + ROWS] @ features.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf  # an outlier is not its own neighbour
        nearest[start : start + ROWS] = cosines.argmax(1)
    # Outliers may show several categories: one in common is a hit.
    return float(np.mean([bool(own & categories[j]) for own, j in zip(categories, nearest, strict=True)]))
