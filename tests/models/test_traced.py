"""What is said of sizes without asking for them is what would be said by asking."""

import pytest
import torch
import torch.nn.functional as F

from owseg.models.traced import adaptive_mean, ceiled, has_size, largest, rounded, shrunken, smallest, surely

SIZES = [((360, 480), (288, 384)), ((241, 321), (544, 736)), ((37, 1000), (64, 32)), ((64, 33), (45, 33))]


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_a_shrunken_image_is_that_of_torch(before, after):
    images = torch.rand(2, 3, *before, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(images, size=after, mode="bilinear", antialias=True)
    assert torch.allclose(shrunken(images, after), expected, atol=2e-5)


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_a_pooled_map_is_that_of_torch(before, after):
    maps = torch.rand(2, 3, *before, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(adaptive_mean(maps, after), F.adaptive_avg_pool2d(maps, after), atol=1e-6)


def test_a_quotient_is_rounded_as_python_does():
    for dividend in range(60):
        for divisor in (1, 2, 3, 4, 10):
            assert rounded(dividend, divisor) == round(dividend / divisor)


def test_sizes_that_are_tensors_give_what_numbers_do_and_are_never_sure():
    three, seven = torch.tensor(3), torch.tensor(7)
    assert smallest(three, 7) == smallest(3, 7) == 3 and largest(3, seven) == largest(3, 7) == 7
    assert ceiled(seven, 0.1) == ceiled(7, 0.1) == 1 and ceiled(torch.tensor(70), 0.1) == ceiled(70, 0.1)
    assert surely(3 < 7) and not surely(7 < 3) and not surely(three < 7)
    assert has_size(torch.zeros(1, 1, 3, 7), (3, 7)) and not has_size(torch.zeros(1, 1, 3, 7), (three, seven))


@pytest.mark.parametrize("size", [(90, 120), (61, 83), (200, 155)])
def test_a_traced_resize_fits_every_size(size):
    def halved(images):
        height, width = images.shape[-2:]
        return shrunken(images, (rounded(height, 2), rounded(width, 2)))

    traced = torch.jit.trace(halved, torch.rand(1, 3, 64, 80), check_trace=False)
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(images, size=(round(size[0] / 2), round(size[1] / 2)), mode="bilinear", antialias=True)
    assert torch.allclose(traced(images), expected, atol=2e-5)
