import numpy as np
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


def test_the_generator_decides_everything():
    first = augment(sample(), (32, 48), (0.6, 1.8), 0.3, np.random.default_rng(5))
    again = augment(sample(), (32, 48), (0.6, 1.8), 0.3, np.random.default_rng(5))
    other = augment(sample(), (32, 48), (0.6, 1.8), 0.3, np.random.default_rng(6))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_jitter_leaves_the_range():
    image, _ = augment(sample(), (32, 48), (1.0, 1.01), 0.9, np.random.default_rng(1))
    assert image.min() >= 0 and image.max() <= 1
