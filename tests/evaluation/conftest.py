"""A knowledge base at every stage of learning two classes, and the images on which it is evaluated."""

from __future__ import annotations

import pytest

from owseg.data.dataset import DataSet
from owseg.data.shots import sample_shots
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.calibration import calibrate, fit_scorers
from owseg.labels import LabelSpace
from owseg.learners.learn import learn
from tests.support import tiny


@pytest.fixture(scope="session")
def frames() -> DataSet:
    """Ten images of five classes, of which the tiny knowledge base knows three; rock and cow can be learned."""
    return tiny.dataset(10, 5)


@pytest.fixture(scope="session")
def stages(frames: DataSet) -> list[KnowledgeBase]:
    """The tiny knowledge base before learning, after learning rock, and after learning cow too."""
    known = DataSet(tiny.dataset(8, 5).source, LabelSpace.of(("road", "sky", "tree")))
    kb = calibrate(fit_scorers(tiny.knowledge_base(), known), known, scorer="joint")
    found = [kb]
    for name in ("rock", "cow"):
        kb = learn(kb, name, sample_shots(frames, name, 3), DataSet(frames.source, kb.labels))
        found.append(kb)
    return found
