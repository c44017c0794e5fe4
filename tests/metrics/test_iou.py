import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score

from owseg.errors import OwsegError
from owseg.labels import IGNORE, KNOWN, UNKNOWN
from owseg.metrics.iou import IoU, harmonic


def maps(seed, classes=4):
    rng = np.random.default_rng(seed)
    target = rng.choice([*range(classes), KNOWN, UNKNOWN, IGNORE], (8, 9)).astype(np.uint8)
    return rng.integers(0, classes, (8, 9)).astype(np.uint8), target


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_iou_is_scikit_learns_jaccard(seed):
    labels, target = maps(seed)
    known = target < KNOWN
    expected = jaccard_score(target[known], labels[known], labels=range(4), average=None, zero_division=0)
    measured = list(IoU.of("abcd").update(labels, target).per_class().values())
    assert np.allclose(measured, expected)


def test_states_merge_in_any_order():
    parts = [IoU.of("abcd").update(*maps(i)) for i in range(3)]
    whole = IoU.of("abcd")
    for i in range(3):
        whole = whole.update(*maps(i))
    assert np.array_equal((parts[2] + (parts[0] + parts[1])).counts, whole.counts)
    with pytest.raises(OwsegError):
        _ = parts[0] + IoU.of("abc")


def test_a_class_that_no_ground_truth_shows_is_nan_and_left_out_even_if_predicted():
    target = np.array([[0, 0, 1, 1]], np.uint8)
    iou = IoU.of("abc").update(np.array([[0, 2, 1, 1]], np.uint8), target)
    assert iou.empty() == ("c",)
    assert iou.per_class()["a"] == 0.5
    assert iou.mean() == 0.75
    assert iou.mean(["b"]) == 1
    assert np.isnan(iou.mean(["c"]))


def test_harmonic():
    assert harmonic(0.6, 0.3) == pytest.approx(0.4)
    assert harmonic(0.5, 0.0) == 0
    assert np.isnan(harmonic(0.5, float("nan")))


def test_bad_maps_are_refused():
    with pytest.raises(OwsegError, match="closed map"):
        IoU.of("ab").update(np.full((2, 2), UNKNOWN, np.uint8), np.zeros((2, 2), np.uint8))
    with pytest.raises(OwsegError, match="do not fit"):
        IoU.of("ab").update(np.zeros((2, 2), np.uint8), np.zeros((3, 2), np.uint8))
