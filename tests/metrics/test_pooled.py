import numpy as np
import pytest

from owseg.labels import IGNORE, UNKNOWN
from owseg.metrics.binned import Binned
from owseg.metrics.pixel import Exact
from owseg.metrics.pooled import Pooled


def images(count=3, shape=(8, 10)):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        yield rng.normal(0, 1, shape).astype(np.float32), rng.choice([0, UNKNOWN, IGNORE], shape).astype(np.uint8)


def filled(state, count=3):
    for score, target in images(count):
        state.update(score, target)
    return state


COUNTED = sum(int((target != IGNORE).sum()) for _, target in images())


def test_metrics_are_exact_up_to_the_limit_and_from_a_histogram_beyond():
    within, beyond = filled(Pooled(COUNTED)), filled(Pooled(COUNTED - 1))
    assert within.exact and within.compute() == filled(Exact()).compute()
    assert not beyond.exact and beyond.compute() == filled(Binned()).compute()
    assert beyond.compute() != within.compute()
    for state, same in ((within, Exact()), (beyond, Binned())):
        for name in ("tpr", "fpr", "precision"):
            assert np.array_equal(getattr(state.curves(), name), getattr(filled(same).curves(), name))


def test_beyond_the_limit_no_score_is_held():
    state = filled(Pooled(COUNTED - 1))
    assert state._exact is None and state.pixels == COUNTED
    state.update(*next(images()))
    assert not state.exact


@pytest.mark.parametrize("limit", [COUNTED, 10**9, 1])
def test_two_states_merge_to_that_of_all_images(limit):
    merged = filled(Pooled(limit), 2) + filled(Pooled(limit), 3)
    direct = Pooled(limit)
    for state in (*images(2), *images(3)):
        direct.update(*state)
    assert merged.exact == direct.exact and merged.compute() == direct.compute()
