import pickle
from fractions import Fraction
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from owseg.errors import OwsegError
from owseg.labels import IGNORE, UNKNOWN
from owseg.metrics.binned import Binned
from owseg.metrics.pixel import Exact, PerImage
from tests.reference.pixel import fpr_nearest
from tests.support.scores import NAMES, decided, f1, filled, score_maps


def sklearn_metrics(maps):
    score = np.concatenate([s[t != IGNORE] for s, t in maps]).astype(np.float64)
    outlier = np.concatenate([(t == UNKNOWN)[t != IGNORE] for s, t in maps])
    fpr, tpr, _ = roc_curve(outlier, score, drop_intermediate=False)
    return roc_auc_score(outlier, score), average_precision_score(outlier, score), fpr[np.argmax(tpr >= 0.95)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0, 1, 2, 5]))
def test_exact_is_scikit_learns(seed, levels):
    maps = score_maps(seed, levels=levels)
    metrics = filled(Exact, maps).compute()
    expected = sklearn_metrics(maps)
    for name, value in zip(NAMES, expected, strict=True):
        assert getattr(metrics, name) == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("make", [Exact, Binned, PerImage])
def test_any_split_and_order_of_merging_gives_the_same(make):
    maps = score_maps(2, count=6, levels=3)
    whole = filled(make, maps).compute()
    for order in np.random.default_rng(0).permuted(np.tile(np.arange(6), (5, 1)), axis=1):
        cut = int(order[0])
        groups = [g for g in (order[:cut], order[cut:]) if len(g)]
        parts = [pickle.loads(pickle.dumps(filled(make, [maps[i] for i in g]))) for g in groups]
        merged = reduce(add, parts).compute()
        for name in NAMES:
            assert getattr(merged, name) == pytest.approx(getattr(whole, name), abs=1e-12)
        assert (merged.outliers, merged.inliers) == (whole.outliers, whole.inliers)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_a_monotone_transform_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    target = rng.choice([0, UNKNOWN], (20, 20)).astype(np.uint8)
    score = rng.integers(-50, 50, (20, 20)).astype(np.float32)
    once = filled(Exact, [(score, target)]).compute()
    for other in (score * 7 - 3, np.tanh(score / 60), score**3):
        assert filled(Exact, [(other, target)]).compute() == once


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0, 1, 2, 4, 16]), st.sampled_from([(3, 4), (4, 5), (9, 11), (20, 20)]))
def test_the_nearest_operating_point_is_dmlnets(seed, levels, shape):
    score, target = score_maps(seed, 1, levels, shape)[0]
    target[0, :2] = UNKNOWN, 0
    counts = target != IGNORE
    expected = fpr_nearest(score[counts], target[counts] == UNKNOWN)
    assert filled(lambda: Exact("nearest"), [(score, target)]).compute().fpr95 == expected


@pytest.mark.parametrize("outliers", [1, 2, 10, 19, 20, 30, 50])
@pytest.mark.parametrize("top", [False, True])
def test_the_nearest_operating_point_reaches_down_to_the_next_outlier(outliers, top):
    """Ten inliers between any two outliers; a recall of .9 and one of 1 are as near, but for the last bit."""
    score = np.arange(11 * outliers, 0, -1, dtype=np.float32)[None]
    target = np.where(np.arange(11 * outliers) % 11 == (0 if top else 10), UNKNOWN, 0).astype(np.uint8)[None]
    metrics = filled(lambda: Exact("nearest"), [(score, target)]).compute()
    assert metrics.fpr95 == fpr_nearest(score[0], target[0] == UNKNOWN)
    if outliers == 20:  # 19 are found; so are the inliers above the twentieth, but for those above the first
        assert metrics.fpr95 == (0.95 if top else 1.0)


def test_per_image_is_the_mean_over_images_that_show_both():
    maps = score_maps(5, 5)
    maps[2] = (maps[2][0], np.zeros_like(maps[2][1]))
    singles = [filled(lambda: Exact("nearest"), [s]).compute() for i, s in enumerate(maps) if i != 2]
    metrics = filled(PerImage, maps).compute()
    for name in NAMES:
        assert getattr(metrics, name) == pytest.approx(np.mean([getattr(f, name) for f in singles]))


def test_pooled_and_per_image_differ_when_images_have_offsets():
    """What makes published metrics incomparable: a score perfect in each image, offset between them."""
    target = np.array([[0] * 10 + [UNKNOWN] * 10], np.uint8)
    score = np.arange(20, dtype=np.float32)[None]
    maps = [(score + 100 * i, target) for i in range(4)]
    assert filled(PerImage, maps).compute().auroc == 1
    assert filled(Exact, maps).compute().auroc < 0.7


@pytest.mark.parametrize("make", [Exact, Binned, PerImage])
@pytest.mark.parametrize("value", [0, UNKNOWN, IGNORE])
def test_what_is_undefined_is_nan(make, value):
    metrics = filled(make, [(np.zeros((3, 3), np.float32), np.full((3, 3), value, np.uint8))]).compute()
    assert all(np.isnan(getattr(metrics, n)) for n in NAMES)
    assert np.isnan(make().compute().auroc)


@pytest.mark.parametrize("make", [Exact, Binned])
def test_minus_infinity_is_the_least_of_all(make):
    target = np.array([[UNKNOWN, UNKNOWN, 0, 0, 0]], np.uint8)
    score = np.array([[2, 1, -np.inf, -np.inf, -np.inf]], np.float32)
    assert filled(make, [(score, target)]).compute().auroc == 1
    learned = filled(make, [(np.full_like(score, -np.inf), target)]).compute()
    low, high = learned.bounds["ap"] if learned.bounds else (learned.ap, learned.ap)
    assert low <= 0.4 <= high


@pytest.mark.parametrize("make", [Exact, Binned, PerImage])
def test_bad_scores_are_refused(make):
    target = np.array([[0, UNKNOWN]], np.uint8)
    with pytest.raises(OwsegError, match="NaN"):
        make().update(np.array([[np.nan, 1]], np.float32), target)
    with pytest.raises(OwsegError, match="does not fit"):
        make().update(np.zeros((2, 2), np.float32), target)


def test_curves_lie_on_scikit_learns():
    maps = score_maps(8, 20)
    curves = filled(Exact, maps).curves(100)
    score = np.concatenate([s[t != IGNORE] for s, t in maps])
    outlier = np.concatenate([(t == UNKNOWN)[t != IGNORE] for s, t in maps])
    fpr, tpr, _ = roc_curve(outlier, score, drop_intermediate=False)
    points = {(round(a, 12), round(b, 12)) for a, b in zip(fpr, tpr, strict=True)}
    assert all((round(a, 12), round(b, 12)) in points for a, b in zip(curves.fpr, curves.tpr, strict=True))
    assert 50 < len(curves.fpr) <= 100 and curves.tpr[-1] == 1
    assert np.all(np.diff(curves.tpr) > 0)


def every_threshold(maps):
    """One float32 below each score, and the highest score: every rule there is."""
    scores = np.unique(np.concatenate([s[t != IGNORE] for s, t in maps]))
    return [*np.nextafter(scores, np.float32(-np.inf)).tolist(), float(scores[-1])]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0, 1, 2]), st.booleans())
def test_thresholds_by_trying_every_one(seed, levels, learned):
    maps = score_maps(seed, levels=levels)
    if learned:
        for number, (score, _) in enumerate(maps):
            score[np.random.default_rng([seed, number]).random(score.shape) < 0.1] = -np.inf
    tried = every_threshold(maps)
    counts = {t: decided(maps, t) for t in tried}
    state = filled(Exact, maps)
    for share in (Fraction(1, 2), Fraction(19, 20), Fraction(1)):
        fits = [t for t, (tp, _, p, _) in counts.items() if tp >= share * p]
        assert state.threshold_at(recall=float(share)) == max(fits, default=-np.inf)
    for share in (Fraction(0), Fraction(1, 20), Fraction(3, 10)):
        at = state.threshold_at(fpr=float(share))
        assert decided(maps, at)[1] == max(fp for _, fp, _, n in counts.values() if fp <= share * n)
        _, fp, _, n = decided(maps, np.nextafter(np.float32(at), np.float32(-np.inf)))
        assert fp > share * n or at == -np.inf
    best = max(f1(maps, t) for t in tried)
    assert f1(maps, state.best_f1_threshold()) == best
    assert state.best_f1_threshold() == max(t for t in tried if f1(maps, t) == best)


def test_fpr95_is_the_rate_at_the_threshold_of_recall_95():
    maps = score_maps(11, 20)
    state = filled(Exact, maps)
    _, fp, _, inliers = decided(maps, state.threshold_at(recall=0.95))
    assert fp / inliers == state.compute().fpr95


@pytest.mark.parametrize("make", [Exact, Binned])
def test_thresholds_at_the_ends(make):
    target = np.array([[UNKNOWN, UNKNOWN, 0, 0]], np.uint8)
    perfect = filled(make, [(np.array([[0, 1, -1, -0.0 - 1]], np.float32), target)])
    assert -1 < perfect.best_f1_threshold() < 0  # a score of 0 lies above it
    assert perfect.threshold_at(fpr=0) <= perfect.best_f1_threshold()
    learned = filled(make, [(np.full((1, 4), -np.inf, np.float32), target)])
    assert {learned.threshold_at(recall=0.5), learned.threshold_at(fpr=0.1), learned.best_f1_threshold()} == {-np.inf}
    endless = filled(make, [(np.full((1, 4), np.inf, np.float32), target)])
    assert endless.threshold_at(fpr=0.1) == np.inf and endless.best_f1_threshold() < np.inf
    assert np.isnan([make().threshold_at(recall=0.5), make().threshold_at(fpr=0.5), make().best_f1_threshold()]).all()


@pytest.mark.parametrize("make", [Exact, Binned])
def test_shares_that_are_none_are_refused(make):
    for asked in ({}, {"recall": 0.5, "fpr": 0.5}):
        with pytest.raises(OwsegError, match="one of the two"):
            make().threshold_at(**asked)
    for asked in ({"recall": 0.0}, {"recall": 1.1}, {"fpr": 1.0}, {"fpr": -0.1}):
        with pytest.raises(OwsegError, match="lies in"):
            make().threshold_at(**asked)
