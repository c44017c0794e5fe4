import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from owseg.errors import OwsegError
from owseg.scorers.smoothing import dilated_gaussian, gaussian, suppress_boundaries
from tests.reference import smoothing as oracle


def a_score(shape=(20, 30), seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def labels_of(shape=(14, 18), seed=0):
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 3, (shape[0] // 7 + 1, shape[1] // 9 + 1))
    return torch.from_numpy(np.kron(blocks, np.ones((7, 9), int))[: shape[0], : shape[1]].copy())


BLURS = {"gaussian": gaussian, "dilated": lambda s: dilated_gaussian(s, dilation=3)}
ALL = {**BLURS, "boundaries": lambda s: suppress_boundaries(s, (s > 0).long())}


@pytest.mark.parametrize("sigma,size", [(1.0, 7), (2.0, 5)])
def test_the_blur_is_scipy_s(sigma, size):
    score = a_score()
    expected = ndimage.gaussian_filter(score.double().numpy(), sigma, mode="mirror", radius=size // 2)
    np.testing.assert_allclose(gaussian(score, size, sigma).numpy(), expected, atol=1e-6)


def test_the_dilated_blur_is_scipy_s_with_holes():
    score = a_score()
    point = np.zeros((7, 7))
    point[3, 3] = 1
    holes = np.zeros((19, 19))
    holes[::3, ::3] = ndimage.gaussian_filter(point, 1.0, radius=3)
    expected = ndimage.convolve(score.double().numpy(), holes, mode="nearest")
    np.testing.assert_allclose(dilated_gaussian(score, dilation=3).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("width,iterations", [(4, 4), (4, 2), (3, 1), (2, 2)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_borders_are_suppressed_as_the_loop_does(width, iterations, seed):
    labels = labels_of(seed=seed)
    score = a_score(tuple(labels.shape), seed)
    expected = oracle.suppress_boundaries(score.numpy(), labels.numpy(), width, iterations)
    np.testing.assert_allclose(suppress_boundaries(score, labels, width, iterations).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_each_map_of_a_batch_is_smoothed_alone(name):
    batch = a_score((3, 20, 30))
    whole = ALL[name](batch)
    assert whole.shape == batch.shape and whole.dtype == torch.float32 and torch.isfinite(whole).all()
    for one, alone in zip(batch, whole, strict=True):
        torch.testing.assert_close(ALL[name](one), alone)


@pytest.mark.parametrize("name", ALL)
@given(st.floats(-5, 5))
@settings(max_examples=10, deadline=None)
def test_smoothing_keeps_a_constant_and_moves_with_the_score(name, shift):
    score = a_score()
    labels = (score > 0).long()
    step = {**BLURS, "boundaries": lambda s: suppress_boundaries(s, labels)}[name]
    torch.testing.assert_close(step(torch.full_like(score, shift)), torch.full_like(score, shift))
    torch.testing.assert_close(step(score + shift), step(score) + shift, atol=1e-4, rtol=1e-4)
    assert step(score).max() <= score.max() + 1e-6 and step(score).min() >= score.min() - 1e-6


def test_a_high_score_along_a_border_is_gone_and_one_inside_stays():
    labels = torch.zeros(24, 24).long()
    labels[:, 12:] = 1
    score = torch.zeros(24, 24)
    score[:, 11:13], score[4, 3] = 9.0, 5.0
    after = suppress_boundaries(score, labels)
    assert after[:, 8:16].abs().max() == 0 and after[4, 3] == 5
    assert torch.equal(suppress_boundaries(score, torch.zeros(24, 24).long()), score)
    assert torch.equal(after, suppress_boundaries(score, 1 - labels))


def test_what_cannot_be_smoothed_is_named():
    score = a_score()
    with pytest.raises(OwsegError, match="odd size"):
        gaussian(score, 6)
    with pytest.raises(OwsegError, match="too small"):
        gaussian(a_score((3, 30)))
    with pytest.raises(OwsegError, match="does not fit labels"):
        suppress_boundaries(score, torch.zeros(4, 4))
    with pytest.raises(OwsegError, match="equal steps"):
        suppress_boundaries(score, torch.zeros(20, 30), 4, 3)
    with pytest.raises(OwsegError, match=r"\(H, W\) or \(B, h, w\)"):
        gaussian(score[None, None])
