"""What is served: a version of a knowledge base, and how a newer one takes its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from owseg._progress import logger
from owseg.data.given import Given
from owseg.errors import OwsegError
from owseg.inference.runtime import Runner
from owseg.knowledge.adaptation import Shift, find_shift, quantiles_of
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.event import last_calibration
from owseg.knowledge.model import Model
from owseg.knowledge.prediction import Prediction
from owseg.knowledge.pretrained import resolve
from owseg.knowledge.versions import pointed_name
from owseg.models.over_images import Batched, over_images, threads_of
from owseg.openset import NO_THRESHOLD, Threshold
from owseg.scorers import ON_ROAD
from owseg.types import Output, Sample

BATCHES = 4
"""So many batches for each thread are taken at once: at the end of them some threads wait for the others."""


@dataclass(frozen=True, eq=False)
class Answer:
    """The prediction for one image, by which ``version``.

    ``scores`` are the ``quantiles`` of its score, None for an image of one colour and for a score on the road;
    ``shift`` is how they differ from those that the threshold is for, None where that is not known.
    """

    prediction: Prediction
    version: int | None
    scores: np.ndarray | None
    shift: Shift | None


@dataclass(frozen=True, eq=False)
class Served:
    """Something that predicts: ``predict`` yields a prediction, or what went wrong with it, for each of some images.

    It is called with up to ``at_once`` images (3, H, W) uint8. ``about`` describes it as plain JSON. ``compares`` says
    whether the scores of an image tell of which place it is. ``size`` (H, W) is that of an image to try it with.
    """

    predict: Callable[[Sequence[np.ndarray]], Iterable[Prediction | Exception]]
    threshold: Threshold
    version: int | None
    about: Mapping[str, Any]
    at_once: int = 1
    compares: bool = True
    size: tuple[int, int] = (64, 64)

    def answers(self, images: Sequence[np.ndarray]) -> Iterable[Answer | Exception]:
        """Yield the answer, or what went wrong, for each image."""
        for found in self.predict(images):
            yield found if isinstance(found, Exception) else self._answer(found)

    def _answer(self, prediction: Prediction) -> Answer:
        scores = quantiles_of(prediction.image, prediction.score) if self.compares else None
        shift = self.shift([scores]) if scores is not None else None
        return Answer(prediction, self.version, scores, shift)

    def shift(self, scores: Sequence[np.ndarray]) -> Shift | None:
        """Return how scores differ from those that the threshold is for; None where it does not say which."""
        return find_shift(self.threshold, scores) if scores and self.threshold.reference is not None else None


def served(model: Model, name: str) -> Served:
    """Return what serves a knowledge base or an export; raise ``OwsegError`` for one without a threshold."""
    if model.threshold is None:
        raise OwsegError(NO_THRESHOLD)
    engine = model.engine()

    def decide(sample: Sample, output: Output) -> Prediction:
        prediction = model.decide(sample, output)
        if prediction.find is not None:
            _ = prediction.regions  # here, by the threads of the engine
        return prediction

    def predict(images: Sequence[np.ndarray]) -> Iterable[Prediction | Exception]:
        return over_images(engine, Given(images), decide, lambda _, error: error)

    batch = engine.batch_size if isinstance(engine, Batched) else 1
    at_once, compares = BATCHES * batch * threads_of(engine), not model.scorer.endswith(ON_ROAD)
    size = engine.size if isinstance(engine, Runner) and engine.size else Served.size  # of an export for one size
    return Served(predict, model.threshold, number_of(model), describe(model, name), at_once, compares, size)


def describe(model: Model, name: str) -> dict[str, Any]:
    """Return what a model is, as plain JSON: classes, threshold and calibration, version, last change."""
    assert model.threshold is not None
    learned = set(model.learned_classes)
    return {
        "name": name,
        "version": number_of(model),
        "fingerprint": model.fingerprint(decides=True),
        "classes": [{"id": i, **c, "learned": c["name"] in learned} for i, c in enumerate(model.labels.to_json())],
        "scorer": model.scorer,
        "threshold": model.threshold.to_json(),
        "calibration": last_calibration(model.history, model.scorer),
        "last_change": f"{model.history[-1].when} {model.history[-1].message}" if model.history else None,
        "loaded": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def number_of(model: Model) -> int | None:
    """Return the number of the version that a knowledge base was loaded from; an export has none."""
    return model.origin.number if isinstance(model, KnowledgeBase) and model.origin else None


class Current:
    """The model in use: ``load`` loads it, and ``pointer`` names what it would load now, None where that never changes.

    A model that does not load, or does not predict, leaves the one in use as it is; ``failure`` says why, in a
    sentence, until another one is loaded.
    """

    def __init__(self, load: Callable[[], Served], pointer: Callable[[], str | None] = lambda: None) -> None:
        self._load, self._pointer, self._one_at_a_time = load, pointer, Lock()
        self.failure: str | None = None
        self._tried = pointer()
        self.model = self._loaded()

    def has_changed(self) -> bool:
        """Return whether another version is current than was last loaded, or tried."""
        try:
            return self._pointer() != self._tried
        except OSError:  # of a network drive, for a moment
            return False

    def reload(self) -> Served:
        """Load what is current now, put it to use and return it; raise ``OwsegError`` where that is not possible."""
        with self._one_at_a_time:
            self._tried = self._pointer()
            try:
                model = self._loaded()
            except Exception as error:
                why = str(error) if isinstance(error, OwsegError) else f"{type(error).__name__}: {error}."
                self.failure = f"version {self.model.version} stays in use: {why}"
                logger.error("%s", self.failure)
                raise OwsegError(self.failure) from error
            logger.warning("Version %s is in use, in place of %s.", model.version, self.model.version)
            self.model, self.failure = model, None
            return model

    def _loaded(self) -> Served:
        """Load a model and try it, so that neither its faults nor its first, slow run are for a client."""
        model = self._load()
        for found in model.answers([np.zeros((3, *model.size), np.uint8)]):
            if isinstance(found, Exception):
                raise found
        return model


def pointer_of(name: str) -> Callable[[], str | None]:
    """Return what reads CURRENT of the knowledge base that ``name`` means, or the time at which an export was written.

    A published network has none.
    """
    if (file := Path(name).expanduser()).is_file():
        return lambda: str(file.stat().st_mtime_ns)
    if ":" in name:
        return lambda: None
    place = resolve(name)
    return lambda: pointed_name(place)
