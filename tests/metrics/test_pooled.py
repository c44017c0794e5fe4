import pickle

import numpy as np
import pytest

from owseg.labels import IGNORE, UNKNOWN
from owseg.metrics.binned import Binned
from owseg.metrics.pixel import Exact, PerImage
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


def test_a_part_of_too_many_pixels_keeps_no_score_and_the_whole_is_the_same():
    """Parts of a set that surely has more pixels than the limit are histograms from the start."""
    whole = filled(Pooled(COUNTED // 2))
    parts = []
    for score, target in images():
        state = Pooled(COUNTED // 2)
        state.update(score, target)
        assert state.exact
        parts.append(state.part_of(1 / 6))
        assert not parts[-1].exact and state.exact and parts[-1].compute() == state._binned.compute()
        assert state.part_of(1).exact and state.part_of(0.5).exact
    merged = parts[0] + parts[1] + parts[2]
    assert merged.compute() == whole.compute() and merged.pixels == whole.pixels


@pytest.mark.parametrize(
    "empty",
    [Exact("nearest"), Binned(12), PerImage("first"), Pooled(COUNTED), Pooled(10)],
    ids=["exact", "binned", "per image", "pooled", "beyond"],
)
def test_a_state_is_the_same_after_storing_and_pickling(empty):
    state = filled(pickle.loads(pickle.dumps(empty)))
    arrays = state.to_arrays()
    assert all(isinstance(array, np.ndarray) and array.dtype != object for array in arrays.values())
    assert sum(array.nbytes for array in arrays.values()) < 20_000  # of 8 MiB of bins, those that are used
    assert len(pickle.dumps(state)) < 30_000
    for read in (empty.from_arrays(arrays), pickle.loads(pickle.dumps(state))):
        assert type(read) is type(state) and read.compute() == state.compute()
        assert (read + state).compute() == (state + state).compute() != state.compute() or type(state) is PerImage
        assert getattr(read, "pixels", 0) == getattr(state, "pixels", 0)
