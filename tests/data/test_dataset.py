"""Ids are matched by class name at the edge of a data set; what does not fit is refused."""

from dataclasses import replace

import numpy as np
import pytest

from owseg.data.dataset import DataSet, Source, divide, fingerprint_of, joined, spread_over
from owseg.errors import OwsegError
from owseg.labels import IGNORE, KNOWN, UNKNOWN, LabelSpace
from tests.support import tiny

CLASSES = LabelSpace.of(["road", "car", "sky"])
IDS = np.array([[0, 1, 2, KNOWN, IGNORE]] * 2, np.uint8)


def source(ids=IDS, size=(2, 5), finer=False, count=1):
    def read(i):
        return np.full((3, *size), i, np.uint8), None if ids is None else ids

    return Source("s", CLASSES, tuple(f"f{i}" for i in range(count)), read, finer)


def test_ids_are_matched_by_name():
    labels = LabelSpace.of(["sky", "road"])
    assert DataSet(source(), labels)[0].target[0].tolist() == [1, UNKNOWN, 0, KNOWN, IGNORE]
    assert DataSet(source(), labels, IGNORE)[0].target[0].tolist() == [1, IGNORE, 0, IGNORE, IGNORE]
    assert DataSet(source(None), labels)[0].target is None
    assert DataSet(source(), labels).unknown_classes() == ("car",)


def test_undefined_ids_are_refused():
    for value in (3, 100, UNKNOWN):
        with pytest.raises(OwsegError, match=rf"mask of f0 holds the ids \[{value}\], but the classes are 0..2"):
            DataSet(source(np.where(IDS == 1, value, IDS).astype(np.uint8)), CLASSES)[0]


def test_a_mask_has_the_size_of_its_image_or_is_finer_where_that_is_said():
    large = np.repeat(np.repeat(IDS, 2, 0), 2, 1)
    with pytest.raises(OwsegError, match="mask of f0 is 10x4 and its image 5x2; they must be of one size"):
        DataSet(source(large), CLASSES)[0]
    assert DataSet(source(large, finer=True), CLASSES)[0].target.shape == (4, 10)
    with pytest.raises(OwsegError, match="can be evaluated, not trained on"):
        DataSet(source(large, finer=True), CLASSES, IGNORE)[0]
    for size in ((4, 10), (1, 5), (2, 4)):  # larger than the mask, of another shape
        with pytest.raises(OwsegError, match="must be of one size"):
            DataSet(source(IDS, size, finer=True), CLASSES)[0]


def test_samples_are_picked_in_the_order_that_is_given():
    data = DataSet(source(count=9), CLASSES)
    few = data.pick([7, 2, 7], "few")
    assert [(s.id, int(s.image[0, 0, 0])) for s in few] == [("f7", 7), ("f2", 2), ("f7", 7)]
    assert few.source.name == "few" and data.pick([1]).source.name == "s" and len(few) == 3
    assert [s.id for s in few.pick([1])] == ["f2"]
    for i in (-1, 3):
        with pytest.raises(IndexError):
            few[i]


def test_two_data_sets_are_joined_in_order_to_train_on():
    labels = LabelSpace.of(["sky", "road"])
    both = joined(DataSet(source(count=2), labels), DataSet(source(None, count=3), labels))
    assert both.source.ids == ("f0", "f1", "f0", "f1", "f2") and both.labels == labels
    assert [int(s.image[0, 0, 0]) for s in both] == [0, 1, 0, 1, 2]
    assert [s.target is None for s in both] == [False, False, True, True, True]
    assert both[1].target[0].tolist() == [1, IGNORE, 0, IGNORE, IGNORE]  # what is unknown or of no class is void
    other = LabelSpace.of(["car", "sky"])  # another source has another order of classes
    swapped = joined(DataSet(source(), LabelSpace.of(["car", "road"])), DataSet(Source("t", other, ("g",), lambda i: (
        np.zeros((3, 1, 2), np.uint8), np.array([[0, 1]], np.uint8))), LabelSpace.of(["car", "road"])))  # fmt: skip
    assert swapped[1].target.tolist() == [[0, IGNORE]]


def test_samples_are_spread_evenly():
    data = DataSet(source(count=9), CLASSES)
    assert [s.id for s in spread_over(data, 3)] == ["f0", "f4", "f8"]
    assert spread_over(data, 3).source.name == "s, 3 of 9" and spread_over(data, 9) is data


def test_the_fingerprint_sees_names_pixels_targets_and_what_they_are_opened_against():
    data = DataSet(source(count=2), CLASSES)
    others = [
        data.pick([1, 0]),
        data.pick([0]),
        replace(data, labels=CLASSES.without(["car"])),
        replace(data, unknown_as=IGNORE),
        replace(data, source=source(None, count=2)),
        replace(data, source=replace(source(count=2), ids=("f0", "g1"))),
    ]
    digests = [d.fingerprint() for d in (data, *others)]
    assert len(set(digests)) == 7 and all(len(d) == 16 for d in digests)
    assert fingerprint_of(list(data), CLASSES) == data.fingerprint() == DataSet(source(count=2), CLASSES).fingerprint()


def test_values_compare_and_print_in_a_line():
    data = DataSet(source(count=900), CLASSES)
    assert data == replace(data) and hash(data) == hash(replace(data)) and data != data.pick([0])
    assert repr(data.source) == "Source('s', 900 images, 3 classes)"
    assert repr(data) == (
        "DataSet(source=Source('s', 900 images, 3 classes), labels=LabelSpace(names=('road', 'car', 'sky')), "
        "unknown_as=254)"
    )
    assert data[0] != data[0] and "\n" not in repr(CLASSES)  # samples hold arrays, and are equal to themselves alone


@pytest.mark.parametrize("share, count", [(0.2, 2), (0.25, 2), (0.9, 9)])
def test_a_data_set_is_divided_at_random(share, count):
    data = tiny.dataset(10)
    rest, part = divide(data, share, 3)
    ids = [set(one.source.ids) for one in (rest, part)]
    assert len(part) == count and not ids[0] & ids[1] and ids[0] | ids[1] == set(data.source.ids)
    assert part.source.ids == tuple(sorted(part.source.ids)) and rest.source.ids == tuple(sorted(rest.source.ids))
    assert divide(data, share, 3)[1].source.ids == part.source.ids
    others = {divide(data, share, seed)[1].source.ids for seed in range(8)}
    assert len(others) > 1 and rest.source.name != part.source.name
    # Each sample is read from its place.
    assert (part[0].image == data[data.source.ids.index(part.source.ids[0])].image).all()


@pytest.mark.parametrize("share", [0, 1, -0.5, 20, float("nan"), 0.01, 0.99])
def test_a_share_that_leaves_nothing_is_refused(share):
    with pytest.raises(OwsegError, match="share"):
        divide(tiny.dataset(10), share)
