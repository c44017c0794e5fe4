"""Images are decoded once, as long as there is memory for them."""

from dataclasses import replace

import numpy as np
import pytest

from owseg.data.cached import cached
from tests.support import tiny


@pytest.mark.parametrize(("images", "reads"), [(4, 4), (2, 6), (0, 8)])
def test_images_are_decoded_once_as_long_as_there_is_memory(images, reads):
    data, calls = tiny.dataset(4), []
    counted = replace(data, source=replace(data.source, read=lambda i: calls.append(i) or data.source.read(i)))
    found = cached(counted, limit=images * 4 * 48 * 64)  # three channels and a mask, a byte each
    assert not calls
    for i in (0, 1, 2, 3, 0, 1, 2, 3):
        sample, expected = found[i], data[i]
        assert np.array_equal(sample.image, expected.image) and np.array_equal(sample.target, expected.target)
        assert sample.id == expected.id
    assert len(calls) == reads and len(found) == 4


def test_images_without_a_mask_are_kept_too():
    data, calls = tiny.dataset(2), []
    bare = replace(data, source=replace(data.source, read=lambda i: calls.append(i) or (data.source.read(i)[0], None)))
    found = cached(bare, limit=3 * 48 * 64)
    assert [found[i].target for i in (0, 0, 1, 1)] == [None] * 4 and calls == [0, 1, 1]
