"""kill -9 while a knowledge base learns and saves: what loads afterwards is whole, and knows what was announced."""

import numpy as np
import torch

from owseg.knowledge.calibration import calibrate, fit_scorers
from owseg.knowledge.load import load
from owseg.knowledge.versions import read_version
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from owseg.types import Shot
from tests.support import tiny
from tests.support.killing import kill_repeatedly


def test_200_kills_while_learning_and_saving(tmp_path):
    torch.set_num_threads(1)
    place, data = tmp_path / "kb", tiny.dataset()
    mask = np.zeros((48, 64), bool)
    mask[:20, :30] = True
    shot = Shot(tiny.image(5), mask, "shot")
    calibrate(fit_scorers(tiny.knowledge_base(), data), data, scorer="joint").save(place)
    torn = 0

    def step() -> int:
        """Learn one class more than the current version knows, or start again from the first version."""
        kb = load(place)
        kb = load(place, 1) if len(kb.labels) > 6 else kb
        return learn(kb, f"class {len(kb.labels)}", [shot], method=NPM(1.0)).save(place)

    def check(announced: int) -> None:
        nonlocal torn
        torn += bool(list(place.glob(".tmp*")))
        number, _ = read_version(place)
        assert number >= announced
        kb = load(place)
        assert len(kb.labels) == 3 + len(kb.increments) == 3 + sum(e.action == "learn" for e in kb.history)

    seen = kill_repeatedly(step, check, times=200)
    assert len(seen) == 200
    assert seen[-1] > 50
    assert torn > 0, "some kills must hit a save in the middle"
    prediction = load(place).predict(tiny.image(1))
    assert np.isfinite(prediction.score).all()
