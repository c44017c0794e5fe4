"""The whole circle once: predict, show the unknown, calibrate, learn a class from five pictures, predict again."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from owseg import __version__
from owseg.calibration import with_threshold
from owseg.data import DataSet, open_dataset
from owseg.errors import OwsegError
from owseg.evaluate import Evaluation, evaluate
from owseg.knowledge import KnowledgeBase, load
from owseg.labels import UNKNOWN, LabelSpace
from owseg.learners import MAX_SHOTS, learn, shots_from
from owseg.report import Curve, Report, Strip, Table, save
from owseg.types import Prediction

_DEFAULTS = {"synthetic": ("synthetic", "animal"), "camvid": ("street8", "car")}
_FRAMES = 60


def run(data: str, kb: str | None, name: str | None, out: Path, seed: int = 0) -> dict[str, Any]:
    """Run the demo and write ``out/report.html`` and the knowledge base ``out/kb`` (version 1 before, 2 after learning).

    ``kb`` and the class ``name`` to learn have defaults for synthetic and CamVid. Thresholds come from the val split,
    shots from the train split, figures from at most 60 frames spread over the test split. Returns the figures.
    """
    kind = data.partition(":")[0]
    if kind not in _DEFAULTS and (kb is None or name is None):
        raise OwsegError(f"for {data} give --kb, a knowledge base, and --learn, a class that it does not know.")
    default_kb, default_name = _DEFAULTS.get(kind, ("", ""))
    before, name = load(kb or default_kb), name or default_name
    classes = open_dataset(data, "test").labels
    if name not in classes:
        raise OwsegError(f"{data} has no class {name!r}; it has {', '.join(classes.names)}.")
    if name in before.labels:
        raise OwsegError(f"the knowledge base knows {name!r} already; name one of {', '.join(_unknown(classes, before))}.")

    print(f"1/5  calibrating on {data}, split val: which score means unknown?")
    val = _some(open_dataset(data, "val", before.labels), _FRAMES)
    before = with_threshold(before, val, before.threshold.target_fpr if before.threshold else 0.05)
    first = before.save(out / "kb")
    print("2/5  predicting and measuring, before")
    test = _some(open_dataset(data, "test", before.labels), _FRAMES)
    scorers = tuple(n for n in ("msp", "eds", before.scorer) if n in before.scorers())
    measured = evaluate(before, test, scorers)
    print(f"3/5  learning {name} from {MAX_SHOTS} annotated pictures")
    shots = shots_from(open_dataset(data, _shots_split(data)), name, MAX_SHOTS, seed)
    after = learn(before, name, shots, val)
    after.save(out / "kb")
    print("4/5  predicting and measuring, after")
    remeasured = evaluate(after, DataSet(test.source, after.labels), (after.scorer,))
    print("5/5  drawing the report")
    raise NotImplementedError
