import pickle

import numpy as np
import pytest

from owseg.errors import OwsegError
from owseg.labels import IGNORE, UNKNOWN
from owseg.metrics.false_positives import FalsePositives, achieved_fpr
from owseg.metrics.threshold import threshold_at_fpr


def filled(pairs, asked=0.2):
    state = FalsePositives(asked)
    for predicted, target in pairs:
        state.update(predicted, target)
    return state


def images(count=6):
    rng = np.random.default_rng(3)
    for _ in range(count):
        shape = (rng.integers(2, 9), 5)
        yield rng.random(shape) < rng.uniform(0, 0.4), rng.choice([0, 1, UNKNOWN, IGNORE], shape).astype(np.uint8)


def test_shares_are_counted_pixel_by_pixel():
    pairs = list(images())
    shares, false, known = [], 0, 0
    for predicted, target in pairs:
        pixels = [predicted[z] for z in np.ndindex(*target.shape) if target[z] < UNKNOWN]
        shares.append(sum(pixels) / len(pixels))
        false, known = false + sum(pixels), known + len(pixels)
    metrics = filled(pairs).compute()
    assert metrics.pooled == pytest.approx(false / known)
    assert metrics.mean == pytest.approx(np.mean(shares))
    assert metrics.above == np.mean([s > 0.2 for s in shares]) and 0 < metrics.above < 1
    assert (metrics.asked, metrics.images) == (0.2, 6)


def test_what_is_asked_exactly_is_not_above():
    metrics = achieved_fpr(np.array([3, 1, 7]), np.array([30, 10, 69]), 0.1)
    assert metrics.above == pytest.approx(1 / 3)


def test_images_without_a_known_pixel_are_left_out():
    void = (np.ones((2, 2), bool), np.full((2, 2), IGNORE, np.uint8))
    assert filled([*images(), void]).compute() == filled(images()).compute()
    assert np.isnan(filled([void]).compute().pooled) and filled([]).compute().images == 0


def test_states_merge():
    pairs = list(images())
    parts = [pickle.loads(pickle.dumps(filled(s))) for s in (pairs[4:], pairs[:1], pairs[1:4])]
    merged, whole = (parts[0] + (parts[1] + parts[2])).compute(), filled(pairs).compute()
    assert merged.pooled == whole.pooled and merged.above == whole.above
    assert merged.mean == pytest.approx(whole.mean, abs=1e-15)
    with pytest.raises(OwsegError, match="merged"):
        filled([]) + filled([], 0.1)


def test_a_threshold_keeps_its_promise_on_its_own_images():
    rng = np.random.default_rng(0)
    maps = [(rng.normal(i / 9, 1, (30, 30)).astype(np.float32), np.ones((30, 30), bool)) for i in range(20)]
    for method, name in (("quantile", "pooled"), ("conformal", "mean")):
        threshold = threshold_at_fpr(maps, 0.1, method)
        pairs = [(score > np.float32(threshold.value), np.zeros((30, 30), np.uint8)) for score, _ in maps]
        metrics = filled(pairs, 0.1).compute()
        assert getattr(metrics, name) == pytest.approx(threshold.achieved_fpr, abs=1e-12)
        assert 0.05 < getattr(metrics, name) <= 0.1 < metrics.above + 0.1


def test_bad_input_is_refused():
    with pytest.raises(OwsegError, match="between 0 and 1"):
        achieved_fpr(np.array([1]), np.array([2]), 1.5)
    with pytest.raises(OwsegError, match="does not fit"):
        FalsePositives(0.1).update(np.ones((2, 2), bool), np.ones((2, 3), np.uint8))
