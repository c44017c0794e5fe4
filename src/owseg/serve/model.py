"""What is served: a version of a knowledge base, and how a newer one takes its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from threading import Lock
from typing import Any

import numpy as np

from owseg._progress import logger
from owseg.data.given import Given
from owseg.errors import OwsegError
from owseg.knowledge.adaptation import Shift, find_shift, quantiles_of
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.event import last_calibration
from owseg.knowledge.prediction import Prediction
from owseg.knowledge.pretrained import resolve
from owseg.knowledge.versions import pointed_name
from owseg.models.over_images import over_images
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
class Model:
    """Something that predicts: ``predict`` yields a prediction, or what went wrong with it, for each of some images.

    It is called with up to ``at_once`` images (3, H, W) uint8. ``about`` describes it as plain JSON. ``compares`` says
    whether the scores of an image tell of which place it is.
    """

    predict: Callable[[Sequence[np.ndarray]], Iterable[Prediction | Exception]]
    threshold: Threshold
    version: int | None
    about: Mapping[str, Any]
    at_once: int = 1
    compares: bool = True

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


def model_of(kb: KnowledgeBase, name: str) -> Model:
    """Return the model that a knowledge base is; raise ``OwsegError`` for one without a threshold."""
    if kb.threshold is None:
        raise OwsegError(NO_THRESHOLD)
    engine = kb.engine()

    def decide(sample: Sample, output: Output) -> Prediction:
        prediction = kb.decide(sample, output)
        _ = prediction.regions  # here, by the threads of the engine
        return prediction

    def predict(images: Sequence[np.ndarray]) -> Iterable[Prediction | Exception]:
        return over_images(engine, Given(images), decide, lambda _, error: error)

    at_once = BATCHES * engine.batch_size * engine.threads
    version = None if kb.origin is None else kb.origin.number
    return Model(predict, kb.threshold, version, describe(kb, name), at_once, not kb.scorer.endswith(ON_ROAD))


def describe(kb: KnowledgeBase, name: str) -> dict[str, Any]:
    """Return what a knowledge base is, as plain JSON: classes, threshold and calibration, version, last change."""
    assert kb.threshold is not None
    learned = set(kb.learned_classes)
    return {
        "name": name,
        "version": None if kb.origin is None else kb.origin.number,
        "fingerprint": kb.fingerprint(decides=True),
        "classes": [{"id": i, **c, "learned": c["name"] in learned} for i, c in enumerate(kb.labels.to_json())],
        "scorer": kb.scorer,
        "threshold": kb.threshold.to_json(),
        "calibration": last_calibration(kb.history, kb.scorer),
        "last_change": f"{kb.history[-1].when} {kb.history[-1].message}" if kb.history else None,
        "loaded": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


class Current:
    """The model in use: ``load`` loads it, and ``pointer`` names what it would load now, None where that never changes.

    A model that does not load, or does not predict, leaves the one in use as it is; ``failure`` says why, in a
    sentence, until another one is loaded.
    """

    def __init__(self, load: Callable[[], Model], pointer: Callable[[], str | None] = lambda: None) -> None:
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

    def reload(self) -> Model:
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

    def _loaded(self) -> Model:
        """Load a model and try it, so that neither its faults nor its first, slow run are for a client."""
        model = self._load()
        for found in model.answers([np.zeros((3, 64, 64), np.uint8)]):
            if isinstance(found, Exception):
                raise found
        return model


def pointer_of(name: str) -> Callable[[], str | None]:
    """Return what reads CURRENT of the knowledge base that ``name`` means; a published network has none."""
    if ":" in name:
        return lambda: None
    place = resolve(name)
    return lambda: pointed_name(place)
