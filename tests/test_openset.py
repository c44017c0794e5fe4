import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from owseg.errors import OwsegError
from owseg.labels import UNKNOWN
from owseg.models.classifiers import PrototypeClassifier
from owseg.openset import Reference, Threshold, closed_map, open_set_map, quantiles, threshold_at_fpr
from tests.reference import openset as oracle
from tests.reference import scorers


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
    with pytest.raises(OwsegError, match="holds NaN"):
        open_set_map(np.zeros((1, 1), np.uint8), np.array([[np.nan]]), 0)


def test_threshold_survives_json():
    threshold = threshold_at_fpr(maps([list(np.random.default_rng(4).normal(size=99))]), 0.07)
    text = json.dumps(threshold.to_json(), allow_nan=False)
    assert Threshold.from_json(json.loads(text)) == threshold
    for change in ({"value": np.nan}, {"value": 10**400}, {"unit": 0.0}, {"extra": 1}, {"value": "high"}):
        with pytest.raises(OwsegError, match="calibrate again"):
            Threshold.from_json({**threshold.to_json(), **change})
    with pytest.raises(OwsegError, match="calibrate again"):
        Threshold.from_json({"value": 1.0})


def test_a_threshold_is_stored_with_its_reference_and_read_without_one():
    maps = [np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(2, 3) + 4]
    reference = Reference.of([quantiles(m) for m in maps])
    assert reference == Reference(4.5, pytest.approx(4 / np.sqrt(2)), 2)
    plain = Threshold(1.0, "quantile", 0.05, 0.05, 2.0, 3, 4)
    assert set(plain.to_json()) == {"value", "method", "target_fpr", "achieved_fpr", "unit", "images", "pixels"}
    whole = replace(plain, reference=reference, estimated=True)
    assert Threshold.from_json(json.loads(json.dumps(whole.to_json(), allow_nan=False))) == whole
    assert str(plain) == "1" and str(whole) == "1 (estimated; no rate is promised)"
    for wrong in (3, {"mean": 1.0}, {**whole.to_json()["reference"], "deviation": np.inf}):
        with pytest.raises(OwsegError, match="calibrate again"):
            Threshold.from_json({**whole.to_json(), "reference": wrong})


def test_a_reference_of_scores_that_are_not_finite_is_refused():
    with pytest.raises(OwsegError, match="NaN or infinite"):
        Reference.of([quantiles(np.full((2, 3), np.nan))])


def test_quantiles_of_a_large_image_are_nearly_those_of_all_its_pixels():
    score = np.random.default_rng(0).normal(size=(700, 900)).astype(np.float32)
    assert np.abs(quantiles(score) - np.quantile(score, np.linspace(0, 1, 201)))[5:-5].max() < 0.03
    small = score[:40, :30]
    assert quantiles(small) == pytest.approx(np.quantile(small.astype(float), np.linspace(0, 1, 201)))


def test_closed_map_is_equation_5():
    embedding = torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(0)) * 3
    expected = np.stack([scorers.closed(e.numpy()) for e in embedding])
    assert np.array_equal(closed_map(PrototypeClassifier(6)(embedding)), expected)
    assert np.array_equal(closed_map(embedding), expected)


def test_closed_map_gives_ties_to_the_first_class():
    assert (closed_map(torch.zeros(1, 9, 40, 40)) == 0).all()
    assert (closed_map(torch.tensor([0.0, 2, 1, 2]).view(1, 4, 1, 1).expand(1, 4, 33, 7)) == 1).all()


def test_open_set_map_is_equation_1():
    rng = np.random.default_rng(5)
    labels, score = rng.integers(0, 9, (6, 7)).astype(np.uint8), rng.normal(size=(6, 7)).astype(np.float32)
    threshold = float(score[2, 3])  # a pixel that lies on the threshold stays known
    found = open_set_map(labels, score, threshold)
    assert found.dtype == np.uint8 and found[2, 3] == labels[2, 3]
    assert np.array_equal(found, oracle.open_set_map(labels, score, threshold))
