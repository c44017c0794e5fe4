"""The threshold at a false-positive rate, against loops over scores; of more scores than are held, from a histogram."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owseg.errors import OwsegError
from owseg.labels import UNKNOWN
from owseg.metrics import threshold as module
from owseg.metrics.threshold import WIDTH, threshold_at_fpr
from owseg.openset import open_set_map
from tests.reference import openset as oracle


def maps(images):
    """Lists of known scores -> score maps that also hold a row of unknown pixels with great scores."""
    for p in images:
        score = np.array([p, [1e6] * len(p)])
        yield score, np.array([[True] * len(p), [False] * len(p)])


# Few distinct values, so that ties are common; -inf marks pixels of learned classes.
scores = st.one_of(st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 0.5, 2.0]), st.floats(-1e6, 1e6, width=32))
images = st.lists(st.lists(scores, min_size=1, max_size=12), min_size=1, max_size=30).filter(
    lambda ps: any(np.isfinite(s) for p in ps for s in p)
)


@given(images, st.sampled_from([0.01, 0.05, 0.1, 0.25, 1 / 3, 0.5, 0.9]))
@settings(max_examples=150, deadline=None)
def test_quantile_is_the_least_score_that_does(images, fpr):
    found = threshold_at_fpr(maps(images), fpr)
    pooled = [s for p in images for s in p]
    assert found.value == oracle.quantile(images, fpr)
    assert found.achieved_fpr == pytest.approx(np.mean(np.array(pooled) > found.value)) and (found.achieved_fpr <= fpr)
    assert (found.images, found.pixels) == (len(images), len(pooled))
    assert (found.method, found.target_fpr) == ("quantile", fpr)


@given(images, st.sampled_from([0.05, 0.1, 0.25, 1 / 3, 0.5, 0.9]))
@settings(max_examples=150, deadline=None)
def test_conformal_is_the_least_score_that_does(images, fpr):
    if 1 / (len(images) + 1) > fpr:
        with pytest.raises(OwsegError, match="needs at least"):
            threshold_at_fpr(maps(images), fpr, "conformal")
        return
    found = threshold_at_fpr(maps(images), fpr, "conformal")
    assert found.value == oracle.conformal(images, fpr)
    assert found.achieved_fpr == pytest.approx(np.mean(oracle.shares_above(images, found.value)))
    assert found.method == "conformal"


def test_conformal_controls_the_rate_of_the_next_image():
    """Images differ in difficulty; the mean loss of the one after n = 24 is held, and not by far."""
    rng = np.random.default_rng(0)
    fpr, losses, plain = 0.1, [], []
    for _ in range(250):
        draw = [rng.normal(rng.normal(0, 0.6), 1, size=rng.integers(20, 60)) for _ in range(25)]
        given, held_out = [list(p) for p in draw[:-1]], draw[-1]
        losses.append(np.mean(held_out > threshold_at_fpr(maps(given), fpr, "conformal").value))
        plain.append(np.mean(held_out > threshold_at_fpr(maps(given), fpr).value))
    error = np.std(losses) / np.sqrt(len(losses))
    assert np.mean(losses) <= fpr + 3 * error
    # The bound of the theory: with continuous losses no more than 2 B / (n + 1) below the target.
    assert np.mean(losses) >= fpr - 2 / 25 - 3 * error
    assert np.mean(losses) < np.mean(plain)


def test_conformal_is_stricter_than_the_quantile_and_tends_to_it():
    rng = np.random.default_rng(1)
    images = [list(rng.normal(size=50)) for _ in range(400)]
    few = [threshold_at_fpr(maps(images[:25]), 0.1, m).value for m in ("conformal", "quantile")]
    many = [threshold_at_fpr(maps(images), 0.1, m).value for m in ("conformal", "quantile")]
    assert few[0] > few[1] and many[0] > many[1]
    assert many[0] - many[1] < 0.25 * (few[0] - few[1])


@pytest.mark.parametrize("fpr,needed", [(0.05, 19), (0.1, 9), (0.25, 3), (0.07, 14)])
def test_conformal_says_how_many_images_it_needs(fpr, needed):
    images = [[0.0, 1.0]] * needed
    threshold_at_fpr(maps(images), fpr, "conformal")
    with pytest.raises(OwsegError, match=f"needs at least {needed} images, not {needed - 1}"):
        threshold_at_fpr(maps(images[1:]), fpr, "conformal")


def test_pixels_of_learned_classes_count_as_below():
    half_learned = [[-np.inf] * 50 + [float(i) for i in range(50)]]
    assert threshold_at_fpr(maps(half_learned), 0.1).value == 39
    mostly_learned = threshold_at_fpr(maps([[-np.inf] * 99 + [3.0]]), 0.05)
    assert mostly_learned.value == 3.0 and mostly_learned.achieved_fpr == 0


def test_threshold_is_exact_in_float32_and_so_is_the_map():
    rng = np.random.default_rng(2)
    score = rng.normal(size=(40, 50))  # float64, as a user may have it
    known = np.ones(score.shape, bool)
    found = threshold_at_fpr([(score, known)], 0.05)
    opened = open_set_map(np.zeros(score.shape, np.uint8), score, found.value)
    assert (opened == UNKNOWN).mean() == found.achieved_fpr == 0.05


def test_order_of_images_does_not_matter_and_the_rate_is_monotone():
    rng = np.random.default_rng(3)
    images = [list(rng.normal(size=n)) for n in (5, 30, 80)]
    for method in ("quantile", "conformal"):
        values = [threshold_at_fpr(maps(images), f, method).value for f in (0.3, 0.5, 0.7)]
        assert values == sorted(values, reverse=True) and len(set(values)) == 3
        assert threshold_at_fpr(maps(images[::-1]), 0.5, method).value == values[1]


def test_images_without_known_pixels_are_skipped():
    empty = (np.full((2, 3), np.nan), np.zeros((2, 3), bool))
    full = (np.arange(6.0).reshape(2, 3), np.ones((2, 3), bool))
    assert threshold_at_fpr([empty, full], 0.4) == threshold_at_fpr([full], 0.4)
    for nothing in ([], [empty], [(np.full((2, 3), -np.inf), np.ones((2, 3), bool))]):
        with pytest.raises(OwsegError, match="no known pixel"):
            threshold_at_fpr(nothing)


def test_unit_is_the_way_from_the_median_to_the_threshold():
    assert threshold_at_fpr(maps([[float(i) for i in range(100)]]), 0.05).unit == 94 - 49
    assert threshold_at_fpr(maps([[2.0] * 10])).unit == 1


def test_bad_input_is_named():
    known = np.ones((2, 2), bool)
    for bad in (np.nan, np.inf):
        with pytest.raises(OwsegError, match="NaN or infinite"):
            threshold_at_fpr([(np.array([[0, 1], [2, bad]]), known)])
    with pytest.raises(OwsegError, match="does not fit a mask"):
        threshold_at_fpr([(np.zeros((2, 3)), known)])
    for fpr in (0, 1, -0.1, np.nan):
        with pytest.raises(OwsegError, match="between 0 and 1"):
            threshold_at_fpr([], fpr)
    with pytest.raises(OwsegError, match="quantile or conformal"):
        threshold_at_fpr([], 0.1, "best")


# ---- of more scores than are held


@given(images, st.sampled_from([0.01, 0.05, 0.25, 0.9]), st.sampled_from(["quantile", "conformal"]))
@settings(max_examples=25, deadline=None)
def test_a_histogram_keeps_the_promise_and_is_hardly_above_the_least_score_that_does(images, fpr, method):
    n = len(images)
    if method == "conformal" and 1 / (n + 1) > fpr:
        return
    exact, found = (threshold_at_fpr(maps(images), fpr, method, limit) for limit in (None, 0))
    assert found.binned and not exact.binned
    assert 0 <= found.value - exact.value <= max(WIDTH * abs(exact.value), 1e-38)
    pooled = np.concatenate([np.array(p, np.float32) for p in images]) > found.value
    each = np.mean(oracle.shares_above(images, found.value))
    if method == "quantile":
        assert found.achieved_fpr == pytest.approx(pooled.mean(), abs=1e-12) and pooled.mean() <= fpr
    else:
        assert found.achieved_fpr == pytest.approx(each, abs=1e-12) and n / (n + 1) * each + 1 / (n + 1) <= fpr + 1e-12
    assert (found.images, found.pixels) == (exact.images, exact.pixels)


@pytest.mark.parametrize("method", ["quantile", "conformal"])
def test_up_to_the_limit_it_is_exact_and_beyond_hardly_different(method):
    rng = np.random.default_rng(5)
    images = [list(rng.normal(3, 2, size=n)) for n in (500, 3000, 80, 900)]
    exact = threshold_at_fpr(maps(images), 0.25, method)
    assert threshold_at_fpr(maps(images), 0.25, method, 4480) == exact
    found = threshold_at_fpr(maps(images), 0.25, method, 4479)
    assert found.binned and 0 < found.value - exact.value < WIDTH * exact.value
    assert 0 <= exact.achieved_fpr - found.achieved_fpr < 0.001
    assert found.unit == pytest.approx(exact.unit, rel=1e-3)


def test_the_rate_of_a_histogram_is_that_at_its_threshold():
    """Where all finite scores are in one bin, the count above any but the greatest is not known."""
    found = threshold_at_fpr(maps([[-np.inf] * 9 + [1.0, 1.00001]]), 0.3, limit=0)
    assert found.value == np.float32(1.00001) and found.achieved_fpr == 0


def test_beyond_the_limit_memory_does_not_grow_with_the_images(monkeypatch):
    """What is held at most: the scores up to the limit, an image, and a histogram, here of fewer bins."""
    monkeypatch.setattr(module, "BINS", 1 << 12)
    monkeypatch.setattr(module, "KEYS", 1 << 20)

    def drawn(count):
        rng = np.random.default_rng(6)
        return ((rng.normal(size=(50, 100)), np.ones((50, 100), bool)) for _ in range(count))

    def peak(count, limit):
        tracemalloc.start()
        found = threshold_at_fpr(drawn(count), 0.05, "quantile", limit)
        assert found.achieved_fpr <= 0.05
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2, 5000)
    few, many = peak(20, 20_000), peak(200, 20_000)
    assert many < few + 5000 * 4 and peak(200, 10**9) > 200 * 5000 * 4 > few
