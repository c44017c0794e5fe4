import numpy as np

from owseg.benchmark.resizing import at_size, distorts, resized
from tests.support import tiny


def test_a_function_gets_the_image_at_the_size():
    image = tiny.image(0, (48, 64))
    assert at_size(np.shape, (24, 16))(image) == (3, 24, 16)
    assert at_size(np.shape, None)(image) == (3, 48, 64)


def test_resizing_keeps_type_means_and_the_image_itself():
    image = tiny.image(0, (48, 64))
    small = resized(image, (24, 32))
    assert small.dtype == np.uint8 and small.flags.c_contiguous
    assert np.abs(small.mean((1, 2)) - image.mean((1, 2))).max() < 1
    assert np.array_equal(resized(image, (48, 64)), image)


def test_a_size_of_another_shape_distorts():
    image = np.zeros((3, 48, 64), np.uint8)
    assert not distorts(image, (24, 32)) and not distorts(image, (49, 64))
    assert distorts(image, (64, 48)) and distorts(image, (48, 70))
