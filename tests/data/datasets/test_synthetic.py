"""Synthetic scenes as a data set: what is read is the caller's own, though a scene is drawn once."""

import numpy as np

from owseg.data.datasets import open_dataset
from owseg.data.datasets.synthetic import _drawn
from owseg.data.synthetic.scene import scene


def test_a_scene_is_drawn_once_and_read_by_its_split_and_number():
    source = open_dataset("synthetic", "shots").source
    _drawn.cache_clear()
    for i in (0, 21, 0):
        image, labels = source.read(i)
        expected = scene("shots", i)
        assert np.array_equal(image.transpose(1, 2, 0), expected[0]) and np.array_equal(labels, expected[1])
    assert _drawn.cache_info().misses == 2


def test_what_a_caller_changes_is_not_read_by_the_next():
    source = open_dataset("synthetic", "val").source
    first = source.read(0)
    before = [part.copy() for part in first]
    for part in first:
        part[:] = 0
    assert all(np.array_equal(a, b) for a, b in zip(source.read(0), before, strict=True))
