"""An audit of outlier exposure: which of the things shown in training does a test set ask for?

A network that has been shown cows finds cows; that says little of what it makes of a sofa. So a figure on anomalies
comes with the categories that were shown and look like them, and with the figure without those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import isnan, nan
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from owseg._progress import track
from owseg.data.dataset import DataSet
from owseg.data.outliers import Outliers, normalized, synonyms_of
from owseg.errors import OwsegError
from owseg.labels import UNKNOWN
from owseg.models.network import to_tensor

Pyramid: TypeAlias = Callable[[Tensor], tuple[Tensor, ...]]
"""A ``Backbone``, or anything that makes feature maps (1, C, h, w) of an image (1, 3, H, W); the last is looked at."""


SIDE = 224
"""A thing is looked at in a square of this many pixels, as ImageNet's networks are trained."""


@dataclass(frozen=True)
class Match:
    """One anomaly of a test set and the ``categories`` that the outlier shows which looks most like it.

    ``similarity`` is the cosine in [-1, 1] to that outlier; ``area`` is in pixels of the image.
    """

    picture: str
    area: int
    categories: frozenset[str]
    similarity: float


@dataclass(frozen=True)
class Audit:
    """What outliers and a test set have in common.

    ``by_name`` are the categories that are a class of the test set under another name or the same; ``matches`` the
    anomalies with what looks most like them; ``trust`` the share of outliers whose nearest other outlier is of their
    category, which says how far looks can be trusted; NaN for an outlier alone.
    """

    by_name: tuple[str, ...]
    matches: tuple[Match, ...]
    trust: float

    @property
    def overlapping(self) -> tuple[str, ...]:
        """The categories to leave out for a strict figure: those named, and those that look most like any anomaly."""
        return tuple(sorted(frozenset(self.by_name).union(*(m.categories for m in self.matches))))

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON; a trust that is NaN is null."""
        return {
            "by_name": list(self.by_name),
            "matches": [{**vars(m), "categories": sorted(m.categories)} for m in self.matches],
            "overlapping": list(self.overlapping),
            "trust": None if isnan(self.trust) else self.trust,
        }

    def words(self) -> str:
        """Return, for people, how far looks can be trusted and what to leave out."""
        alike = f"Of the outliers, {self.trust:.0%} look most like another of their own category; trust looks as far."
        alone = "There is one outlier, so nothing says how far looks can be trusted."
        return (
            f"{alone if isnan(self.trust) else alike}\nBy name: {', '.join(self.by_name) or 'none'}.\n"
            f"For a strict figure train again with --exclude {','.join(self.overlapping)!r}."
        )


def audit(outliers: Outliers, data: DataSet, backbone: Pyramid, least: int = 400) -> Audit:
    """Return which categories of ``outliers`` the anomalies of ``data`` overlap with, by name and by looks.

    Every connected UNKNOWN region of at least ``least`` pixels is compared with every outlier by ``looks``. Raises
    ``OwsegError`` where no image has such a region, or an outlier is empty.
    """
    numbers = range(len(outliers))
    shown = np.stack([
        _one(looks(backbone, o.image, o.mask), outliers.ids[i])
        for i in track(numbers, "outliers", len(outliers)) for o in (outliers.read(i),)
    ])  # fmt: skip
    matches = []
    for sample in track(data, "anomalies", len(data)):
        if sample.target is None:
            continue
        unknown = torch.from_numpy(sample.target == UNKNOWN)[None, None].float()
        mask = F.interpolate(unknown, sample.image.shape[1:], mode="nearest-exact")[0, 0].bool().numpy()
        regions, count = ndimage.label(mask, np.ones((3, 3)))
        areas = np.bincount(regions.ravel(), minlength=count + 1)
        for number in [n for n in range(1, count + 1) if areas[n] >= least]:
            seen = looks(backbone, sample.image, regions == number)
            if seen is not None:
                alike = shown @ seen
                best = int(alike.argmax())
                matches.append(Match(sample.id, int(areas[number]), outliers.categories[best], float(alike[best])))
    if not matches:
        raise OwsegError(f"{data.source.name} shows no anomaly of {least} pixels or more; there is nothing to audit.")
    return Audit(named(outliers, data.unknown_classes()), tuple(matches), _trust(shown, outliers))


def named(outliers: Outliers, classes: Iterable[str]) -> tuple[str, ...]:
    """Return the categories of ``outliers`` that go under a name of ``classes``, or a usual synonym of one."""
    wanted = synonyms_of(classes)
    return tuple(c for c in outliers.counts() if normalized(c) in wanted)


@torch.no_grad()
def looks(backbone: Pyramid, image: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """Return what a thing looks like, of length 1: the mean of the coarsest features over it; None if it is empty.

    The thing is cut out, without what surrounds it, and shown on grey in a square of ``SIDE`` pixels, whatever its
    size in the image (3, H, W).
    """
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    if not len(rows):
        return None
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    cut = torch.from_numpy(np.where(mask[box], image[:, box[0], box[1]], 127).astype(np.float32))[None]
    factor = SIDE / max(cut.shape[2:])
    height, width = (max(1, round(factor * side)) for side in cut.shape[2:])
    thing = F.interpolate(cut, size=(height, width), mode="bilinear", antialias=factor < 1)
    canvas = np.full((3, SIDE, SIDE), 127, np.uint8)
    canvas[:, :height, :width] = thing[0].round().clamp(0, 255).byte().numpy()
    features = backbone(to_tensor(canvas))[-1]
    where = F.interpolate(torch.from_numpy(mask[box])[None, None].float(), size=(height, width))
    where = F.pad(where, (0, SIDE - width, 0, SIDE - height))
    weight = F.adaptive_avg_pool2d(where, (features.shape[-2], features.shape[-1]))
    mean = (features * weight).sum((0, 2, 3)) / weight.sum().clamp(min=1e-6)
    return F.normalize(mean, dim=0).numpy()


def summary(found: Audit) -> list[tuple[str, ...]]:
    """Return rows (categories, anomalies, area, mean similarity) of text, most anomalies first."""
    counts = Counter(m.categories for m in found.matches)
    rows: list[tuple[str, ...]] = []
    for shown, count in counts.most_common():
        own = [m for m in found.matches if m.categories == shown]
        mean = np.mean([m.similarity for m in own])
        rows.append(("+".join(sorted(shown)), str(count), str(sum(m.area for m in own)), f"{mean:.2f}"))
    return rows


def _one(vector: np.ndarray | None, name: str) -> np.ndarray:
    if vector is None:
        raise OwsegError(f"the outlier {name} is empty: its mask marks no pixel; remove it.")
    return vector


def _trust(shown: np.ndarray, outliers: Outliers) -> float:
    if len(shown) < 2:
        return nan
    alike = shown @ shown.T
    np.fill_diagonal(alike, -np.inf)
    nearest = alike.argmax(1)
    return float(np.mean([bool(a & outliers.categories[j]) for a, j in zip(outliers.categories, nearest, strict=True)]))
