"""A kill while a knowledge base learns and saves: what loads afterwards is whole, and knows what was announced."""

import numpy as np
import pytest
import torch

from owseg.knowledge.load import load
from owseg.knowledge.versions import read_version
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from tests.support import tiny
from tests.support.killing import kill_repeatedly, left_by_kills, put
from tests.support.shots import corner_shot


@pytest.fixture
def place(stored_kb):
    torch.set_num_threads(1)  # a forked child of a parent with several would hang
    return stored_kb


def learn_one_more(place):
    """Learn one class more than the current version knows, or start again from the first version."""
    kb = load(place)
    kb = load(place, 1) if len(kb.labels) > 6 else kb
    return learn(kb, f"class {len(kb.labels)}", [corner_shot()], method=NPM(1.0)).save(place)


def loaded(place):
    """The current version, after a check that labels, increments and history are of one state."""
    kb = load(place)
    assert len(kb.labels) == 3 + len(kb.increments) == 3 + sum(e.action == "learn" for e in kb.history)
    return kb


def test_a_kill_before_every_call_that_touches_a_file(place, tmp_path):
    """What each would leave loads as the state before or after, and learning goes on from there."""
    left = left_by_kills(lambda: learn_one_more(place), place)
    classes = []
    for files in left:
        again = put(tmp_path / "left", files)
        kb = loaded(again)
        classes.append(len(kb.labels))
        assert np.isfinite(kb.predict(tiny.image(1)).score).all()
    assert classes == sorted(classes) and (classes[0], classes[-1]) == (3, 4)
    assert sum(any(".tmp" in name for name in files) for files in left) > 5  # in the middle of a save
    for files in (left[0], left[len(left) // 2], left[-2]):
        again = put(tmp_path / "left", files)
        learn_one_more(again)
        assert len(loaded(again).labels) > 3 and not list(again.glob(".tmp*"))


def test_kills_at_random_moments_while_learning_and_saving(place):
    def check(announced):
        number, _ = read_version(place)
        assert number >= announced
        loaded(place)

    given = kill_repeatedly(lambda: learn_one_more(place), check, times=6)
    assert len(given) == 6 and given == sorted(given)
    assert np.isfinite(load(place).predict(tiny.image(1)).score).all()
