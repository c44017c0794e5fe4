"""Open-world semantic segmentation: label every pixel, say which are unknown, learn them from five images."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for type checkers: the same names as below, with their types
    from owseg._registry import Card as Card
    from owseg.data.dataset import DataSet as DataSet
    from owseg.data.datasets import open_dataset as open_dataset
    from owseg.data.images import read_image as read_image
    from owseg.data.shots import sample_shots as sample_shots
    from owseg.discovery.queue import Queue as Queue
    from owseg.errors import OwsegError as OwsegError
    from owseg.evaluation.evaluate import evaluate as evaluate
    from owseg.exchange.shots import read_shots as read_shots
    from owseg.knowledge.adaptation import adapt as adapt
    from owseg.knowledge.base import KnowledgeBase as KnowledgeBase
    from owseg.knowledge.calibration import calibrate as calibrate
    from owseg.knowledge.calibration import fit_scorers as fit_scorers
    from owseg.knowledge.load import load as load
    from owseg.knowledge.prediction import Prediction as Prediction
    from owseg.knowledge.regions import Region as Region
    from owseg.labels import IGNORE as IGNORE
    from owseg.labels import KNOWN as KNOWN
    from owseg.labels import UNKNOWN as UNKNOWN
    from owseg.labels import LabelSpace as LabelSpace
    from owseg.learners.learn import correct as correct
    from owseg.learners.learn import learn as learn
    from owseg.types import Output as Output
    from owseg.types import Sample as Sample
    from owseg.types import Shot as Shot

_HOMES = {
    "Card": "owseg._registry",
    "DataSet": "owseg.data.dataset",
    "IGNORE": "owseg.labels",
    "KNOWN": "owseg.labels",
    "KnowledgeBase": "owseg.knowledge.base",
    "LabelSpace": "owseg.labels",
    "Output": "owseg.types",
    "OwsegError": "owseg.errors",
    "Prediction": "owseg.knowledge.prediction",
    "Queue": "owseg.discovery.queue",
    "Region": "owseg.knowledge.regions",
    "Sample": "owseg.types",
    "Shot": "owseg.types",
    "UNKNOWN": "owseg.labels",
    "adapt": "owseg.knowledge.adaptation",
    "calibrate": "owseg.knowledge.calibration",
    "correct": "owseg.learners.learn",
    "evaluate": "owseg.evaluation.evaluate",
    "fit_scorers": "owseg.knowledge.calibration",
    "learn": "owseg.learners.learn",
    "load": "owseg.knowledge.load",
    "open_dataset": "owseg.data.datasets",
    "read_image": "owseg.data.images",
    "read_shots": "owseg.exchange.shots",
    "sample_shots": "owseg.data.shots",
}
"""Where each public name is defined; it is imported when it is first used, so that ``owseg --help`` needs no torch."""

__all__ = sorted(_HOMES)
__version__ = "0.1.0"

if not TYPE_CHECKING:  # a checker that saw this would take every misspelt name for Any

    def __getattr__(name):
        if name in _HOMES:
            globals()[name] = value = getattr(importlib.import_module(_HOMES[name]), name)
            return value
        raise AttributeError(f"module 'owseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
