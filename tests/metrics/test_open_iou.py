import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owseg.errors import OwsegError
from owseg.labels import IGNORE, KNOWN, UNKNOWN
from owseg.metrics.iou import IoU
from owseg.metrics.open_iou import OpenIoU
from tests.reference import open_iou as reference

NAMES = ("road", "sky", "tree", "rock")


def maps(seed, shape=(7, 9)):
    rng = np.random.default_rng(seed)
    target = rng.choice([0, 1, 2, UNKNOWN, IGNORE], shape, p=[0.4, 0.2, 0.1, 0.2, 0.1]).astype(np.uint8)
    labels = np.where(rng.random(shape) < 0.7, np.minimum(target, 3), rng.integers(0, 4, shape)).astype(np.uint8)
    score = (np.round(rng.normal(0, 2, shape) + 2 * (target == UNKNOWN)) / 2).astype(np.float32)
    score[rng.random(shape) < 0.1] = -np.inf
    return score, labels, target


def filled(images, thresholds):
    state = OpenIoU(NAMES, thresholds)
    for image in images:
        state.update(*image)
    return state


def flat(images):
    return [row for image in images for row in zip(*(m.ravel().tolist() for m in image), strict=True)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_open_iou_is_that_of_a_literal_confusion(seed):
    images = [maps([seed, i]) for i in range(3)]
    thresholds = {"b": 0.5, "a": -0.25, "also b": 0.5, "c": 7.5, "all": -np.inf, "none": np.inf}
    measured = filled(images, thresholds).compute()
    for name, threshold in thresholds.items():
        counts = reference.confusion(flat(images), 4, threshold)
        ious = [reference.open_iou(counts, k) for k in range(5)]
        metrics = measured[name]
        for value, expected in zip([*metrics.iou.values(), metrics.unknown], ious, strict=True):
            assert np.isnan(value) if expected is None else value == pytest.approx(float(expected), abs=1e-12)
        known = [v for v in ious[:4] if v is not None]
        assert metrics.miou == pytest.approx(float(sum(known, Fraction()) / len(known)), abs=1e-12)
        outliers, inliers = sum(counts[4]), sum(map(sum, counts[:4]))
        called = sum(row[4] for row in counts)
        assert metrics.recall == pytest.approx(counts[4][4] / outliers)
        assert metrics.fpr == pytest.approx((called - counts[4][4]) / inliers)
        assert np.isnan(metrics.precision) if not called else metrics.precision == counts[4][4] / called


def test_with_nothing_called_unknown_outliers_are_false_positives_only():
    target = np.array([[0, 0, 1, UNKNOWN]], np.uint8)
    labels = np.array([[0, 0, 1, 1]], np.uint8)
    metrics = OpenIoU(("a", "b"), {"t": 1.0})
    metrics.update(np.zeros((1, 4), np.float32), labels, target)
    assert metrics.compute()["t"].iou == {"a": 1.0, "b": 0.5}
    assert metrics.compute()["t"].unknown == 0
    assert metrics.closed().mean() == 1


def test_a_pixel_of_some_known_class_counts_only_when_it_is_called_unknown():
    images = [maps(i) for i in range(3)]
    some = [(score, labels, np.where(target == 1, KNOWN, target).astype(np.uint8)) for score, labels, target in images]
    void = [(score, labels, np.where(target == 1, IGNORE, target).astype(np.uint8)) for score, labels, target in images]
    thresholds = {"a": -0.25, "b": 0.5}
    found, named, without = (filled(s, thresholds).compute() for s in (some, images, void))
    for name in thresholds:
        assert found[name].iou.items() >= {(n, v) for n, v in without[name].iou.items() if v == v}
        assert found[name].miou == without[name].miou
        for metric in ("unknown", "recall", "precision", "fpr"):  # these ask only whether it is known
            assert getattr(found[name], metric) == getattr(named[name], metric)
    only = [(score, labels, np.where(target < 3, KNOWN, target).astype(np.uint8)) for score, labels, target in images]
    assert np.isnan(filled(only, thresholds).compute()["a"].miou) and np.isnan(filled(only, {}).closed().mean())


def test_the_closed_map_is_evaluated_as_without_a_threshold():
    images = [maps(i) for i in range(3)]
    closed = IoU.of(NAMES)
    for _, labels, target in images:
        closed = closed.update(labels, target)
    assert np.array_equal(filled(images, {"a": 0.0, "b": 1.0}).closed().counts, closed.counts)


def test_states_merge_in_any_order():
    images, thresholds = [maps(i) for i in range(5)], {"x": 0.0, "y": 1.0}
    whole = filled(images, thresholds).compute()
    parts = [pickle.loads(pickle.dumps(filled([images[i] for i in g], thresholds))) for g in ([4, 1], [0], [2, 3])]
    assert repr((parts[2] + (parts[0] + parts[1])).compute()) == repr(whole)
    with pytest.raises(OwsegError, match="thresholds"):
        parts[0] + OpenIoU(NAMES, {"x": 0.0})


def test_bad_maps_are_refused():
    state = OpenIoU(("a", "b"), {"t": 0.0})
    score, labels, target = np.zeros((2, 2), np.float32), np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8)
    with pytest.raises(OwsegError, match="beyond the 2 classes"):
        state.update(score, labels + 2, target)
    with pytest.raises(OwsegError, match="beyond the 2 classes"):
        state.update(score, labels, target + 2)
    with pytest.raises(OwsegError, match="NaN"):
        state.update(score * np.nan, labels, target)
    with pytest.raises(OwsegError, match="differ in size"):
        state.update(score[:1], labels, target)
    with pytest.raises(OwsegError, match="uint8"):
        state.update(score, labels.astype(int), target)
    with pytest.raises(OwsegError, match="NaN"):
        OpenIoU(("a",), {"t": np.nan})
    state.update(score * np.nan, labels + 255, target + IGNORE)  # void may hold anything
    assert np.isnan(state.compute()["t"].miou)
