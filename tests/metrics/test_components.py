import pickle
from functools import reduce
from operator import add

import numpy as np
import pytest

from owseg.errors import OwsegError
from owseg.labels import IGNORE, UNKNOWN
from owseg.metrics.components import ANOMALY_TRACK, OBSTACLE_TRACK, Components, Sizes, match
from tests.reference import components as reference


def blobs(rng, shape, count):
    """Rectangles, some of which touch or overlap."""
    mask = np.zeros(shape, bool)
    for _ in range(count):
        top, left = rng.integers(0, shape[0] - 1), rng.integers(0, shape[1] - 1)
        mask[top : top + rng.integers(1, 7), left : left + rng.integers(1, 7)] = True
    return mask


def image(seed):
    """A mask that often overlaps the objects; with void, and sometimes nothing predicted or nothing to be found."""
    rng = np.random.default_rng(seed)
    shape = (rng.integers(6, 22), rng.integers(6, 22))
    objects = blobs(rng, shape, rng.integers(0, 6))
    mask = np.roll(objects, rng.integers(-2, 3, 2), (0, 1)) if rng.random() < 0.7 else blobs(rng, shape, 4)
    mask = (mask ^ (rng.random(shape) < rng.choice([0, 0.05, 0.3]))) & (rng.random() > 0.1)
    target = np.where(objects, UNKNOWN, rng.integers(0, 3, shape)).astype(np.uint8)
    target[blobs(rng, shape, rng.integers(0, 4))] = IGNORE
    return mask, target


def filled(maps, sizes=ANOMALY_TRACK, strict=False):
    state = Components(sizes, strict)
    for mask, target in maps:
        state.update(mask, target)
    return state


def check(metrics, expected):
    for name in ("ground_truths", "predicted", "tp", "fp"):
        assert getattr(metrics, name) == expected[name], name
    for name in ("siou", "ppv", "f1"):
        value = getattr(metrics, name)
        assert np.isnan(value) if expected[name] is None else value == pytest.approx(float(expected[name]), abs=1e-12)


@pytest.mark.parametrize("part", range(4))
def test_components_are_those_of_the_set_formulas(part):
    found = set()
    for seed in range(50 * part, 50 * part + 50):
        pair = image(seed)
        sizes = [Sizes(1, 1), Sizes(5, 3), Sizes(3, 8)][seed % 3]
        expected = reference.metrics([pair], sizes.predicted, sizes.ground_truth, strict=seed % 2 == 1)
        check(filled([pair], sizes, strict=seed % 2 == 1).compute(), expected)
        siou, ppv = reference.matched(*pair, sizes.predicted, sizes.ground_truth)
        measured = match(*pair, sizes)
        assert sorted(measured.intersection / measured.union) == sorted(map(float, siou))
        assert sorted(measured.correct / measured.size) == sorted(map(float, ppv))
        found |= {
            ("no object", not siou),
            ("nothing predicted", not ppv),
            ("perfect", 1 in siou),
            ("missed", 0 in siou),
        }
    assert {(n, True) for n in ("no object", "nothing predicted", "missed")} <= found


def test_images_are_pooled_and_merge_in_any_order():
    maps = [image(seed) for seed in range(12)]
    sizes = Sizes(2, 2)
    whole = filled(maps, sizes).compute()
    check(whole, reference.metrics(maps, 2, 2))
    for order in np.random.default_rng(0).permuted(np.tile(np.arange(12), (4, 1)), axis=1):
        parts = [pickle.loads(pickle.dumps(filled([maps[i] for i in g], sizes))) for g in np.split(order, [3, 4])]
        merged = reduce(add, parts).compute()
        assert (merged.tp, merged.fp, merged.ground_truths) == (whole.tp, whole.fp, whole.ground_truths)
        for name in ("siou", "ppv", "f1"):
            assert getattr(merged, name) == pytest.approx(getattr(whole, name), abs=1e-12)


def test_one_prediction_over_two_objects_is_right_for_both():
    target = np.zeros((4, 9), np.uint8)
    target[:, :4] = target[:, 5:] = UNKNOWN
    found = match(np.ones_like(target, bool), target, Sizes(1, 1))
    assert found.intersection.tolist() == [16, 16] and found.union.tolist() == [20, 20]  # the gap is wrong for each
    assert (found.correct.tolist(), found.size.tolist()) == ([32], [36])


def test_void_cuts_a_prediction_in_two_and_a_small_object_does_not():
    target = np.zeros((3, 7), np.uint8)
    target[:, 3] = IGNORE
    everything = np.ones_like(target, bool)
    assert match(everything, target, Sizes(1, 1)).size.tolist() == [9, 9]
    target[:, 3] = UNKNOWN
    assert match(everything, target, Sizes(1, 4)).size.tolist() == [18]
    assert match(target == UNKNOWN, target, Sizes(1, 4)).size.tolist() == []
    assert match(everything, target, Sizes(21, 4)).size.tolist() == [18]  # it was large enough before


def test_diagonal_neighbours_are_one_component():
    target = np.where(np.eye(6, dtype=bool), UNKNOWN, 0).astype(np.uint8)
    assert match(target == UNKNOWN, target, Sizes(1, 1)).intersection.tolist() == [6]


@pytest.mark.parametrize("strict", [False, True])
def test_a_ratio_that_equals_tau_counts_as_the_code_or_as_the_paper_has_it(strict):
    target = np.zeros((1, 10), np.uint8)
    target[0, :5] = UNKNOWN
    mask = np.zeros((1, 10), bool)
    mask[0, :3] = True  # sIoU 3/5: .6 is the eighth tau
    metrics = filled([(mask, target)], Sizes(1, 1), strict).compute()
    assert metrics.tp == (1,) * (7 if strict else 8) + (0,) * (4 if strict else 3)
    wide = np.zeros((1, 10), bool)
    wide[0, 2:7] = True  # PPV 3/5
    metrics = filled([(wide, target)], Sizes(1, 1), strict).compute()
    assert metrics.fp == (0,) * (7 if strict else 8) + (1,) * (4 if strict else 3)


def test_the_sizes_are_the_benchmarks():
    target = np.zeros((40, 40), np.uint8)
    target[:10, :10] = UNKNOWN
    mask = np.zeros((40, 40), bool)
    mask[:20, :24], mask[30:37, :7] = True, True  # 480 and 49
    assert (Sizes(500, 100), Sizes(50, 10)) == (ANOMALY_TRACK, OBSTACLE_TRACK)
    for sizes, found in ((ANOMALY_TRACK, 0), (OBSTACLE_TRACK, 1)):
        assert len(match(mask, target, sizes).size) == found
    mask[20, :20] = mask[37, 0] = True
    assert len(match(mask, target).size) == 1 and len(match(mask, target, OBSTACLE_TRACK).size) == 2
    target[0, 0] = 0
    assert len(match(mask, target).intersection) == 0


def test_what_is_undefined_is_nan():
    empty = Components().compute()
    assert all(np.isnan(v) for v in (empty.siou, empty.ppv, empty.f1))
    calm = filled([(np.zeros((30, 30), bool), np.zeros((30, 30), np.uint8))]).compute()
    assert np.isnan(calm.siou) and np.isnan(calm.ppv) and np.isnan(calm.f1)
    alarm = filled([(np.ones((30, 30), bool), np.zeros((30, 30), np.uint8))]).compute()
    assert np.isnan(alarm.siou) and alarm.ppv == 0 and alarm.f1 == 0


def test_what_does_not_fit_is_refused():
    with pytest.raises(OwsegError, match="does not fit"):
        Components().update(np.ones((2, 2), bool), np.ones((2, 3), np.uint8))
    with pytest.raises(OwsegError, match="same sizes"):
        Components() + Components(OBSTACLE_TRACK)
