"""Contrast of a score: with what is around a pixel, and with the rest of the image."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from owseg.scorers.contrast import AROUND, GLOBAL, LOCAL, contrasted, sharpened


def slowly(score):
    """``contrasted`` of one image (h, w), in float64, by loops over its pixels."""
    height, width = score.shape
    half = round(AROUND * min(height, width) / 2)
    square, found = np.arange(-half, half + 1), np.zeros((height, width))
    median = np.sort(score.ravel())[(score.size - 1) // 2]
    for y in range(height):
        for x in range(width):
            rows, columns = np.clip(y + square, 0, height - 1), np.clip(x + square, 0, width - 1)
            mean = np.mean([score[i, j] for i in rows for j in columns])
            found[y, x] = score[y, x] + LOCAL * (score[y, x] - mean) + GLOBAL * (score[y, x] - median)
    return found


def test_it_is_what_loops_find_in_each_image_of_a_batch():
    score = np.random.default_rng(0).normal(2, 3, (2, 40, 60))
    found = contrasted(torch.from_numpy(score).float()).numpy()
    np.testing.assert_allclose(found, [slowly(image) for image in score], atol=1e-4)
    assert found.dtype == np.float32


def test_a_small_thing_gains_more_than_a_large_one():
    score = torch.zeros(1, 100, 120)
    score[0, 20:23, 20:23] = score[0, 40:80, 40:80] = 1.0
    found = sharpened(score, 0.5)[0]
    assert found[21, 21] > 1.4  # nine pixels of a square of 121
    assert torch.allclose(found[60, 60], torch.tensor(1.0)) and torch.allclose(found[95, 100], torch.tensor(0.0))
    assert contrasted(score)[0, 21, 21] > contrasted(score)[0, 60, 60] > 1


def test_a_constant_score_stays_also_at_the_border():
    constant = torch.full((1, 30, 40), 3.0)
    assert torch.allclose(contrasted(constant), constant) and torch.allclose(sharpened(constant, 2.0), constant)


@given(st.floats(0.1, 50), st.floats(-100, 100))
@settings(deadline=None, max_examples=20)
def test_it_follows_scale_and_shift_of_the_score(scale, shift):
    score = torch.randn(1, 30, 40, generator=torch.Generator().manual_seed(1))
    one, other = contrasted(score), contrasted(scale * score + shift)
    assert torch.allclose(other, scale * one + shift, atol=1e-3 * scale + 1e-4)


def test_an_image_with_a_score_that_is_not_finite_stays_as_it_is_and_the_others_do_not():
    score = torch.randn(2, 30, 40, generator=torch.Generator().manual_seed(1))
    score[0, 3, 4] = float("inf")
    found = contrasted(score)
    assert torch.equal(found[0], score[0]) and torch.equal(found[1:], contrasted(score[1:]))
