import numpy as np
import pytest

from owseg.data.label_swap import MIN_SHARE, connected_instances, swap_instances
from owseg.labels import IGNORE


def squares(count=10, classes=5):
    """``count`` squares of 4x4 of class 1 on class 0, with void at the left edge, and their numbers."""
    ids, instances = np.zeros((8, 8 * count), np.uint8), np.zeros((8, 8 * count), np.int64)
    for n in range(count):
        ids[2:6, 8 * n + 2 : 8 * n + 6], instances[2:6, 8 * n + 2 : 8 * n + 6] = 1, n + 1
    ids[:, 0] = IGNORE
    return ids, instances


def test_half_of_the_instances_get_another_class_and_nothing_else_changes():
    ids, instances = squares(11)
    before = ids.copy()
    altered, changed = swap_instances(ids, instances, 5, np.random.default_rng(0))
    assert np.array_equal(ids, before)
    others = [n for n in range(1, 12) if (altered[instances == n] != 1).any()]
    assert len(others) == 5  # floor(11 / 2)
    for n in range(1, 12):
        (label,) = set(altered[instances == n].tolist())
        (wrong,) = set(changed[instances == n].tolist())
        assert (label != 1) == (wrong == 1) == (n in others) and label < 5
    outside = instances == 0
    assert np.array_equal(altered[outside], ids[outside])
    assert set(changed[outside & (ids < 5)].tolist()) == {0} and (changed[ids == IGNORE] == IGNORE).all()


def test_every_other_class_is_drawn_and_never_the_own():
    ids, instances = squares(10)
    drawn = set()
    for seed in range(40):
        altered, changed = swap_instances(ids, instances, 5, np.random.default_rng(seed), share=1.0)
        assert (changed[instances > 0] == 1).all()
        drawn |= set(altered[instances > 0].tolist())
    assert drawn == {0, 2, 3, 4}


def test_what_is_void_within_an_instance_stays_void():
    ids, instances = squares(2)
    ids[3, 2:6] = IGNORE
    altered, changed = swap_instances(ids, instances, 5, np.random.default_rng(0), share=1.0)
    assert (altered[3, 2:6] == IGNORE).all() and (changed[3, 2:6] == IGNORE).all()


@pytest.mark.parametrize("ids", [np.full((4, 4), IGNORE, np.uint8), np.zeros((4, 4), np.uint8)])
def test_without_instances_nothing_changes(ids):
    altered, changed = swap_instances(ids, np.zeros((4, 4), int), 5, np.random.default_rng(0))
    assert np.array_equal(altered, ids) and not (changed == 1).any()


def test_instances_are_connected_pixels_of_the_given_classes_of_some_size():
    ids, _ = squares(3)
    ids[2:6, 10:14] = 2  # the second square is of another class
    ids[0, 20] = 1  # one pixel of 192, over a share of 1 / 200
    found = connected_instances(ids, (1, 2), 1 / 200)
    assert sorted(np.unique(found).tolist()) == [0, 1, 2, 3, 4]
    for value in range(1, 5):
        assert len(set(ids[found == value].tolist())) == 1
    assert found[3, 3] != found[3, 19] and found[3, 11] not in (0, found[3, 3]) and found[0, 20] > 0
    assert connected_instances(ids, (1, 2), 2 / 192)[0, 20] == 0
    assert set(np.unique(connected_instances(ids, (2,), 0)).tolist()) == {0, 1}
    assert MIN_SHARE * 512 * 1024 == 750


def test_pixels_that_touch_at_a_corner_are_two_instances():
    ids = np.array([[1, 0], [0, 1]], np.uint8)
    assert connected_instances(ids, (1,), 0)[0, 0] != connected_instances(ids, (1,), 0)[1, 1]
