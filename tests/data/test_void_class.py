import numpy as np
import pytest

from owseg.data.dataset import DataSet, Source
from owseg.data.void_class import with_background
from owseg.errors import OwsegError
from owseg.labels import BACKGROUND, IGNORE, KNOWN, UNKNOWN, LabelSpace
from tests.support import tiny


def test_void_is_a_class_and_what_is_left_out_is_none_of_it():
    source = tiny.with_void()
    labels = source.classes.without(["tree"]).extend(BACKGROUND)
    target, raw = DataSet(with_background(source), labels, IGNORE)[0].target, source.read(0)[1]
    assert (target[raw == IGNORE] == 2).all() and (target[raw == 2] == IGNORE).all()
    assert np.array_equal(target[raw < 2], raw[raw < 2])
    assert (raw == 2).any()
    # The same images without it, as they are evaluated: void is void, what is left out is unknown.
    target = DataSet(source, labels)[0].target
    assert (target[raw == IGNORE] == IGNORE).all() and (target[raw == 2] == UNKNOWN).all()


def test_what_is_merely_known_is_not_void():
    raw = np.array([[0, KNOWN, UNKNOWN, IGNORE]], np.uint8)
    source = Source("s", LabelSpace.of(["road"]), ("a",), lambda i: (np.zeros((3, 1, 4), np.uint8), raw))
    assert with_background(source).read(0)[1].tolist() == [[0, KNOWN, UNKNOWN, 1]]


def test_images_without_masks_stay_so_and_a_class_of_that_name_is_refused():
    source = tiny.with_void()
    bare = Source("bare", source.classes, source.ids, lambda i: (source.read(i)[0], None))
    assert DataSet(with_background(bare), bare.classes)[0].target is None
    with pytest.raises(OwsegError, match="has a class 'background' already"):
        with_background(with_background(source))
