"""The first pass over a folder of maps: a histogram of every score, each image's own metrics, and samples to plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from owseg.evaluation.maps import MapFolder
from owseg.evaluation.passes import Points, one_pass
from owseg.metrics.binned import Binned
from owseg.metrics.pixel import Exact, PixelMetrics

BITS = 18


@dataclass(frozen=True, eq=False, repr=False)
class ScoreHistogram:
    """One score over all images of a folder.

    ``binned`` is its histogram, ``images`` the exact metrics of each image in the order of the manifest, ``sampled``
    finite scores (n,) float32 by the name of the class, at the pixels that were asked for. Memory: ``32 * 2^bits``
    bytes (8 MiB), a few numbers an image, and the samples.
    """

    binned: Binned
    images: list[PixelMetrics]
    sampled: dict[str, list[np.ndarray]]

    @classmethod
    def empty(cls, bits: int = BITS) -> ScoreHistogram:
        """Return the state before the first image."""
        return cls(Binned(bits), [], {})

    def update(self, score: np.ndarray, labels: np.ndarray, target: np.ndarray, points: Points) -> None:
        """Add one image: its maps (H, W), and the pixels to sample."""
        single = Exact()  # the pixels of one image fit into memory
        single.update(score, target)
        self.images.append(single.compute())
        self.binned.update(score, target)
        for name, at in points.items():
            values = score.ravel()[at]
            # A learned class is predicted where a score is -inf, which no histogram can show.
            self.sampled.setdefault(name, []).append(values[np.isfinite(values)])

    def __iadd__(self, other: ScoreHistogram) -> ScoreHistogram:
        self.images.extend(other.images)
        for name, parts in other.sampled.items():
            self.sampled.setdefault(name, []).extend(parts)
        return replace(self, binned=self.binned + other.binned)


def score_histograms(
    folder: MapFolder, workers: int = 1, bits: int = BITS, points: Callable[[str], Points] | None = None
) -> Mapping[str, ScoreHistogram]:
    """Read every image of a folder once and return what is in it by the name of the score.

    ``workers`` processes read; ``points`` returns, for the name of an image, the pixels whose scores are kept. Raises
    ``OwsegError`` for maps that are missing or damaged.
    """
    start = {name: ScoreHistogram.empty(bits) for name in folder.manifest.scores}
    return one_pass(folder, start, "histograms", workers, points)


def images_with_unknown(folder: MapFolder, histograms: Mapping[str, ScoreHistogram]) -> list[str]:
    """Return the names of the images that have an UNKNOWN pixel, in order."""
    any_score = next(iter(histograms.values()))
    return [name for name, own in zip(folder.manifest.images, any_score.images, strict=True) if own.outliers]
