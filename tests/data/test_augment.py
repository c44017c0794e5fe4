import numpy as np
import pytest
import torch

from owseg.data.augment import augment
from owseg.labels import IGNORE
from owseg.types import Sample


def sample(height=40, width=60):
    """An image whose red channel carries its label, so that the two can be compared after any geometry."""
    ids = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 4, (height // 10, width // 10)), 10, 0), 10, 1)
    image = np.stack([ids * 60, np.full_like(ids, 50), np.full_like(ids, 50)]).astype(np.uint8)
    return Sample(image, ids.astype(np.uint8), "s")


def test_image_and_target_move_together():
    for seed in range(20):
        image, target = augment(sample(), (32, 48), (0.6, 1.8), 0.0, np.random.default_rng(seed))
        inside = target != IGNORE
        agree = ((image[0] * 255 / 60).round() == target)[inside].float().mean()
        assert image.shape == (3, 32, 48)
        assert target.shape == (32, 48)
        assert agree > 0.85  # the rest are pixels mixed across borders


def test_where_the_image_ends_the_target_is_ignored():
    image, target = augment(sample(), (64, 96), (0.5, 0.5001), 0.0, np.random.default_rng(0))
    assert (target[20:] == IGNORE).all() and (target[:, 30:] == IGNORE).all()
    assert (target[:20, :30] != IGNORE).all()
    assert (image[:, 20:] == 0).all()


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_the_crop_of_a_centred_view_is_the_middle(factor):
    """And where the image is smaller than the view it lies in its middle, with void on all sides."""
    rows, columns = np.mgrid[:80, :120].astype(np.uint8)
    source = Sample(np.stack([rows, columns, columns]), np.zeros((80, 120), np.uint8), "s")
    for seed in range(4):
        rng = np.random.default_rng(seed)
        image, target = augment(source, (20, 32), (factor, factor * (1 + 1e-9)), 0.0, rng, centred=True)
        assert (255 * image[0].mean()).item() == pytest.approx(39.5, abs=0.01)  # as of all rows
        assert (255 * image[1].mean()).item() == pytest.approx(59.5, abs=0.01)
        assert np.ptp(255 * image[0].numpy()) == pytest.approx(20 / factor - 1, abs=2)
        assert (target == 0).all()
    image, target = augment(source, (51, 64), (0.5, 0.5 * (1 + 1e-9)), 0.0, np.random.default_rng(0), centred=True)
    inside = np.zeros((51, 64), bool)
    inside[5:45, 2:62] = True
    assert np.array_equal(target.numpy() == 0, inside) and (target.numpy()[~inside] == IGNORE).all()
    assert (image.numpy()[:, ~inside] == 0).all() and (image.numpy()[1, inside] > 0).all()


def test_the_generator_decides_everything():
    first = augment(sample(), (32, 48), (0.6, 1.8), 0.3, np.random.default_rng(5))
    again = augment(sample(), (32, 48), (0.6, 1.8), 0.3, np.random.default_rng(5))
    other = augment(sample(), (32, 48), (0.6, 1.8), 0.3, np.random.default_rng(6))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_jitter_leaves_the_range():
    image, _ = augment(sample(), (32, 48), (1.0, 1.01), 0.9, np.random.default_rng(1))
    assert image.min() >= 0 and image.max() <= 1


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_the_scale_is_that_of_the_range(factor):
    """Blocks of 10 pixels become 10 times the factor."""
    _, target = augment(sample(80, 120), (40, 60), (factor, factor * 1.0001), 0.0, np.random.default_rng(2))
    borders = np.nonzero((np.diff(target.numpy(), axis=1) != 0).any(0))[0]
    assert set(np.diff(borders) % (10 * factor)) == {0}


def test_jitter_changes_the_image_alone_and_by_what_is_asked_for():
    views = [augment(sample(), (32, 48), (1.0, 1.01), j, np.random.default_rng(4)) for j in (0.0, 0.1, 0.5)]
    assert all(torch.equal(target, views[0][1]) for _, target in views)
    small, large = ((image - views[0][0]).abs().mean() for image, _ in views[1:])
    assert 0 < small < large / 2


def test_half_of_the_views_are_mirrored():
    flipped = 0
    image = np.tile(np.arange(60, dtype=np.uint8), (3, 40, 1))
    for seed in range(200):
        view, _ = augment(
            Sample(image, np.zeros((40, 60), np.uint8), "s"), (40, 60), (1.0, 1.0001), 0.0, np.random.default_rng(seed)
        )
        flipped += bool(view[0, 0, 0] > view[0, 0, -1])
    assert 70 < flipped < 130
