"""What labels images, a knowledge base or one that was exported: all that predicting and measuring ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np

from owseg.errors import OwsegError
from owseg.knowledge.event import Event
from owseg.knowledge.pieces import SPLIT_COSINE
from owseg.knowledge.prediction import Assessment, Prediction
from owseg.knowledge.regions import RegionFeatures, RegionProposals, find_regions, nearest_class
from owseg.labels import UNKNOWN, LabelSpace
from owseg.openset import NO_THRESHOLD, Threshold, open_set_map
from owseg.types import Forward, Output, Sample


class Model(Protocol):
    """A ``KnowledgeBase``, or what was exported of one (``owseg.inference.runtime``)."""

    @property
    def labels(self) -> LabelSpace:
        """All classes: those that the network was trained for, then those that were learned."""
        ...

    @property
    def scorer(self) -> str:
        """The name of the score that decides what is unknown."""
        ...

    @property
    def threshold(self) -> Threshold | None:
        """The score above which a pixel is unknown."""
        ...

    @property
    def history(self) -> Sequence[Event]:
        """What was done to make it; nothing where that is not known."""
        ...

    @property
    def learned_classes(self) -> tuple[str, ...]:
        """The names of the classes that were learned."""
        ...

    @property
    def scorers(self) -> Iterable[str]:
        """The names of the scores that it has."""
        ...

    @property
    def working_size(self) -> int | None:
        """The shorter side, in pixels, to which images are resized; None where they keep their size."""
        ...

    def require_scorer(self, name: str) -> Any:
        """Return a scorer; raise ``OwsegError`` for one that it does not have."""
        ...

    def engine(self, **options: Any) -> Forward:
        """Return what runs images."""
        ...

    def assess(
        self, output: Output, size: tuple[int, int], scorers: tuple[str, ...] = (), scores: Mapping[str, Any] = ...
    ) -> Assessment:
        """Return closed map, learned classes and scores of one image, at ``size`` (H, W)."""
        ...

    def decide(self, sample: Sample, output: Output) -> Prediction:
        """Return the prediction for an image whose output is there."""
        ...

    def fingerprint(self, decides: bool = False) -> str:
        """Return a short SHA-256 of all that labels and scores depend on; the threshold if it ``decides``."""
        ...


def prediction_of(model: Model, sample: Sample, output: Output, find: Callable[..., Any] | None) -> Prediction:
    """Return the prediction of ``model`` for an image whose output is there; ``find`` finds its regions.

    Raises ``OwsegError`` without a threshold, and where the score is not finite.
    """
    if model.threshold is None:
        raise OwsegError(NO_THRESHOLD)
    assessed = model.assess(output, (sample.image.shape[1], sample.image.shape[2]))
    score = assessed.scores[model.scorer]
    if not np.isfinite(score).all():
        raise OwsegError("the score is not finite; the weights or the image hold NaN or infinite values.")
    open_set = open_set_map(assessed.labels, assessed.decided(model.scorer), model.threshold.value)
    return Prediction(
        assessed.labels,
        score,
        open_set,
        sample.image,
        model.labels,
        model.threshold,
        id=sample.id,
        find=find,
        learned=assessed.learned,
    )


def regions_of(
    prediction: Prediction,
    features: RegionFeatures,
    means: np.ndarray | None,
    min_area: float,
    split_at: float = SPLIT_COSINE,
) -> RegionProposals:
    """Return the unknown regions of a prediction, the largest first (see ``find_regions``).

    ``features`` are those of its image (see ``region_features``), ``means`` (K, C) those of the known classes (see
    ``class_means``).
    """
    p, near = prediction, partial(nearest_class, means, prediction.classes.names)
    unknown = p.open_set == UNKNOWN
    return find_regions(unknown, p.score, p.labels, p.threshold, features, near, p.id, min_area, split_at)
