"""What a type checker must see through the public names; it is never run, but checked by `make check`."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from typing_extensions import assert_type

import owseg
from owseg.evaluation.evaluate import Evaluation
from owseg.image_scorers import IMAGE_SCORERS
from owseg.knowledge.regions import RegionProposals
from owseg.scorers import SCORERS
from owseg.types import ImageScorer, Scorer


def check(image: np.ndarray, image_scorer: ImageScorer) -> None:
    kb = owseg.load("street")
    assert_type(kb, owseg.KnowledgeBase)
    assert_type(kb.predict(image), owseg.Prediction)
    assert_type(kb.predict(Path("a.jpg")), owseg.Prediction)
    assert_type(kb.predict(["a.jpg", image]), list[owseg.Prediction])
    assert_type(kb.regions("a.jpg"), RegionProposals)
    assert_type(kb.labels.names, tuple[str, ...])
    assert_type(owseg.open_dataset("synthetic", "val"), owseg.DataSet)
    assert_type(owseg.read_shots("annotated", "car"), Sequence[owseg.Shot])
    assert_type(owseg.learn(kb, "car", owseg.read_shots("annotated", "car")), owseg.KnowledgeBase)
    assert_type(owseg.evaluate(kb, owseg.open_dataset("synthetic", "val")), Evaluation)
    owseg.lod  # type: ignore[attr-defined]  # noqa: B018  (an error; were it none, mypy would say that nothing is ignored)
    assert_type(SCORERS["eds"].make, Callable[..., Scorer])
    assert_type(IMAGE_SCORERS["dense_crf"].make(kb), ImageScorer)
