from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owseg.labels import UNKNOWN
from owseg.metrics.binned import Binned
from owseg.metrics.pixel import Exact
from tests.support.scores import NAMES, decided, decided_at_once, f1, filled, score_maps


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0, 1, 3]), st.sampled_from([10, 14, 18]))
def test_the_binned_intervals_hold_the_exact_metrics(seed, levels, bits):
    maps = score_maps(seed, levels=levels)
    exact = filled(Exact, maps).compute()
    binned = filled(lambda: Binned(bits), maps).compute()
    for name in NAMES:
        low, high = binned.bounds[name]
        assert low <= getattr(exact, name) <= high, name
        assert low <= getattr(binned, name) <= high


def one_bin(outliers, inliers, copies=21):
    """A histogram of these scores, the inliers ``2 ** copies`` times over."""
    many = Binned()
    many.update(np.array(inliers, np.float32), np.zeros(len(inliers), np.uint8))
    for _ in range(copies):
        many = many + many
    found = Binned()
    found.update(np.array(outliers, np.float32), np.full(len(outliers), UNKNOWN, np.uint8))
    return many + found


@pytest.mark.parametrize("outliers", [2, 3, 19, 20, 1000])
def test_the_intervals_hold_with_billions_of_pixels(outliers):
    """2 * 10^9 inliers share a bin with the outliers, in an order that the histogram does not know."""
    state = one_bin([1.0001, 1.0003] * (outliers // 2) + [1.0003] * (outliers % 2), [1, 1.0002] * 500)
    low, high = state.compute().bounds["ap"]
    total = 1000 << 21
    worst = sum(Fraction(i, i + total) for i in range(1, outliers + 1)) / outliers
    assert low <= worst <= 1 - 1e-9 <= high
    assert float(worst) - low < 1e-11


@pytest.mark.parametrize("outliers", [1, 3, 20, 1000])
def test_ties_are_exact_with_billions_of_pixels(outliers):
    metrics = one_bin([0.0] * outliers, [0.0] * 1000).compute()
    tied = Fraction(outliers, outliers + (1000 << 21))  # what Exact, and scikit-learn, say of ties
    assert (metrics.auroc, metrics.ap, metrics.fpr95) == pytest.approx((0.5, float(tied), 1.0), rel=1e-9)
    assert all(high - low < 3e-12 and low <= 1 for low, high in metrics.bounds.values())
    assert metrics.bounds["ap"][0] <= tied <= metrics.bounds["ap"][1]


@pytest.mark.parametrize("value", [-np.inf, 0.0, 1.0, 3.7, np.inf])
def test_a_tied_operating_point_is_decided_as_the_exact_metric_decides_it(value):
    """Most of the mass has one score: of a learned class, which is -inf, or of a score that saturates."""
    maps = score_maps(3, 6)
    for number, (score, target) in enumerate(maps):
        score[np.random.default_rng(number).random(score.shape) < 0.6] = value
        target[0, 0] = UNKNOWN
    exact, binned = (filled(make, maps).compute() for make in (Exact, Binned))
    assert binned.fpr95 == exact.fpr95
    assert binned.text("fpr95") == f"{exact.fpr95:.3f}"


def test_one_learned_class_everywhere_has_a_false_positive_rate_of_1():
    target = np.array([[UNKNOWN] * 30 + [0] * 70], np.uint8)
    score = np.full((1, 100), -np.inf, np.float32)
    score[0, :12] = score[0, 30:37] = 2.0
    assert filled(Exact, [(score, target)]).compute().fpr95 == 1
    metrics = filled(Binned, [(score, target)]).compute()
    assert metrics.fpr95 == 1 and metrics.text("fpr95") == "1.000"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_where_every_bin_holds_one_score_all_metrics_are_exact(seed, levels):
    rng = np.random.default_rng(seed)
    target = rng.choice([0, UNKNOWN], (20, 20), p=[0.7, 0.3]).astype(np.uint8)
    maps = [((rng.integers(-levels, levels + 1, (20, 20)) + (target == UNKNOWN)).astype(np.float32), target)]
    exact, binned = (filled(make, maps).compute() for make in (Exact, Binned))
    for name in NAMES:
        assert getattr(binned, name) == pytest.approx(getattr(exact, name), abs=1e-12)
        low, high = binned.bounds[name]
        assert high - low < 3e-12


@pytest.mark.parametrize(
    "outliers,inliers,expected",
    [
        ([1.0003, 1.0004], [1.0001, 1.0002], (1, 1, 0)),  # all outliers of the bin above all its inliers
        ([1.0001, 1.0002], [1.0003, 1.0004], (0, 5 / 12, 1)),  # below them
        ([1.0001, 1.0002], [1.0002, 1.0002], (0.25, None, 1)),  # at or below them
    ],
)
def test_scores_of_one_bin_that_can_be_told_apart_are(outliers, inliers, expected):
    target = np.array([[UNKNOWN] * len(outliers) + [0] * len(inliers)], np.uint8)
    metrics = filled(Binned, [(np.array([outliers + inliers], np.float32), target)]).compute()
    exact = filled(Exact, [(np.array([outliers + inliers], np.float32), target)]).compute()
    for name, value in zip(NAMES, expected, strict=True):
        low, high = metrics.bounds[name]
        assert low <= getattr(exact, name) <= high
        assert value is None or getattr(exact, name) == pytest.approx(value)
    assert metrics.fpr95 == exact.fpr95
    if expected[0] in (0, 1):
        assert metrics.auroc == exact.auroc


def test_an_interval_that_is_wide_is_printed_as_one():
    """Six tenths of the pixels lie in one bin at different scores: no precision is pretended."""
    rng = np.random.default_rng(0)
    target = rng.choice([0, UNKNOWN], (60, 60), p=[0.7, 0.3]).astype(np.uint8)
    score = rng.normal(0, 1, (60, 60)).astype(np.float32)
    score[rng.random(score.shape) < 0.6] -= 30
    crowded = score < -20
    score[crowded] = -1 - 1e-3 * rng.random(int(crowded.sum()))
    score[~crowded] = np.abs(score[~crowded])
    exact, binned = (filled(make, [(score, target)]).compute() for make in (Exact, Binned))
    low, high = binned.bounds["fpr95"]
    assert low <= exact.fpr95 <= high and high - low > 0.5
    assert binned.text("fpr95") == f"{low:.3f} to {high:.3f}"
    assert exact.text("fpr95") == f"{exact.fpr95:.3f}"
    low, high = filled(lambda: Binned(22), [(score, target)]).compute().bounds["fpr95"]
    assert low <= exact.fpr95 <= high and high - low < 0.2
    assert Exact().compute().text("ap") == "–" == Binned().compute().text("ap")


def test_more_bits_make_narrower_intervals():
    maps = score_maps(1, count=40)
    width = [np.subtract(*filled(lambda b=b: Binned(b), maps).compute().bounds["ap"][::-1]) for b in (10, 14, 18, 22)]
    assert width == sorted(width, reverse=True)
    assert width[0] > 10 * width[-1]
    assert width[-1] < 1e-3


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0, 1, 3]), st.sampled_from([10, 15, 20]))
def test_binned_thresholds_keep_what_was_asked_and_are_the_best_of_the_edges(seed, levels, bits):
    maps = score_maps(seed, levels=levels)
    maps[0][0][:2] = -np.inf
    exact, binned = filled(Exact, maps), filled(lambda: Binned(bits), maps)
    edges = sorted({binned._edge(n) for n in range(1 << bits)}) if bits == 10 else None
    counts = dict(zip(edges, decided_at_once(maps, edges), strict=True)) if edges else {}
    for share in (0.5, 0.95, 1.0):
        t = binned.threshold_at(recall=share)
        tp, _, p, _ = decided(maps, t)
        assert t <= exact.threshold_at(recall=share) and (t == -np.inf or tp >= Fraction(str(share)) * p)
        assert edges is None or t == max(
            (e for e, c in counts.items() if c[0] >= Fraction(str(share)) * p), default=-np.inf
        )
    for share in (0.0, 0.05, 0.3):
        t = binned.threshold_at(fpr=share)
        _, fp, _, n = decided(maps, t)
        assert t >= exact.threshold_at(fpr=share) and fp <= Fraction(str(share)) * n
        assert edges is None or t == min(e for e, c in counts.items() if c[1] <= Fraction(str(share)) * n)
    t, best = binned.best_f1_threshold(), f1(maps, exact.best_f1_threshold())
    assert f1(maps, t) <= best
    if edges:
        assert f1(maps, t) == max(Fraction(2 * tp, tp + fp + p) for tp, fp, p, _ in counts.values())
    if bits == 20:  # scores of one bin differ by less than a part in 2000
        assert best - f1(maps, t) <= Fraction(1, 20)
