"""Open-world semantic segmentation: label every pixel, say which are unknown, learn them from five pictures."""

from __future__ import annotations

import importlib
from typing import Any

# Where each public name lives. They are imported when first asked for, so that `owseg --help` need not wait for torch.
_HOMES = {
    "DataSet": "owseg.data",
    "open_dataset": "owseg.data",
    "evaluate": "owseg.evaluation",
    "OwsegError": "owseg.errors",
    "IGNORE": "owseg.labels",
    "KNOWN": "owseg.labels",
    "LabelSpace": "owseg.labels",
    "UNKNOWN": "owseg.labels",
    "Queue": "owseg.queue",
    "Region": "owseg.regions",
    "find_regions": "owseg.regions",
    "KnowledgeBase": "owseg.knowledge",
    "load": "owseg.knowledge",
    "Shot": "owseg.learners",
    "learn": "owseg.learners",
    "shots_from": "owseg.learners",
    "shots_at": "owseg.exchange",
    "shots_in": "owseg.learners",
    "with_threshold": "owseg.calibration",
    "with_baselines": "owseg.calibration",
    "with_fitted": "owseg.calibration",
    "Output": "owseg.types",
    "Prediction": "owseg.types",
    "Sample": "owseg.types",
}

__all__ = sorted(_HOMES)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        globals()[name] = value = getattr(importlib.import_module(_HOMES[name]), name)
        return value
    raise AttributeError(f"module 'owseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
