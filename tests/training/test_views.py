"""The features of a frozen backbone: of which views, computed how often, kept how."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from owseg.data.augment import augment
from owseg.labels import IGNORE
from owseg.training.config import TrainConfig
from owseg.training.views import AugmentedViews, FrozenFeatures
from tests.support import tiny

CONFIG = TrainConfig(batch=2, crop=(48, 64), scale=(0.9, 1.2), views=2, small=1.0, seed=5)


class Counting(torch.nn.Module):
    """A backbone that counts its passes."""

    def __init__(self, inside):
        super().__init__()
        self.inside, self.passes = inside, 0

    def forward(self, image):
        self.passes += 1
        return self.inside(image)


@pytest.fixture(scope="module")
def backbone():
    return tiny.backbone().eval()


def at(views, epoch, i):
    """The maps and the target of an image."""
    return views.finish(epoch, i, views.view(epoch, i, np.random.default_rng(0)))


def test_they_are_the_backbone_s_of_the_augmented_image_in_16_bits(backbone):
    data = tiny.dataset(2)
    *maps, target = at(FrozenFeatures(AugmentedViews(data, CONFIG), backbone), 1, 1)
    rng = np.random.default_rng([5, 1, 1])  # seed, number of the view, image
    image, expected = augment(data[1], (48, 64), (0.9, 1.2), CONFIG.jitter, rng)
    with torch.no_grad():
        pyramid = backbone(image[None].contiguous(memory_format=torch.channels_last))
    assert len(maps) == len(pyramid) and torch.equal(target, expected)
    for found, made in zip(maps, pyramid, strict=True):
        assert found.dtype == torch.float32 and torch.equal(found, made[0].half().float())


def test_epochs_take_the_views_in_turn(backbone):
    views = FrozenFeatures(AugmentedViews(tiny.dataset(2), CONFIG), backbone)
    first, second, third = (at(views, epoch, 0)[0] for epoch in range(3))
    assert torch.equal(first, third) and not torch.equal(first, second)
    other = FrozenFeatures(AugmentedViews(tiny.dataset(2), replace(CONFIG, seed=6)), backbone)
    assert not torch.equal(first, at(other, 0, 0)[0])


@pytest.mark.parametrize(("limit", "passes"), [(1 << 30, 4), (0, 12), (25_000, None)])
def test_each_is_computed_once_where_memory_allows_and_the_values_are_the_same(backbone, limit, passes):
    counting = Counting(backbone)
    views = FrozenFeatures(AugmentedViews(tiny.dataset(2), CONFIG), counting, limit)
    plain = FrozenFeatures(AugmentedViews(tiny.dataset(2), CONFIG), backbone)
    for epoch in range(6):
        for i in range(2):
            assert all(torch.equal(a, b) for a, b in zip(at(views, epoch, i), at(plain, epoch, i), strict=True))
    assert counting.passes == passes if passes else 4 < counting.passes < 12
    assert views.bytes_left >= 0


def test_values_that_16_bits_cannot_hold_stay(backbone):
    class Large(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(1e6))

        def forward(self, image):
            return (self.weight * torch.ones(1, 1, 2, 2),)

    maps, _ = at(FrozenFeatures(AugmentedViews(tiny.dataset(1), CONFIG), Large()), 0, 0)
    assert torch.equal(maps, torch.full((1, 2, 2), 1e6))


def test_views_are_scaled_from_the_working_size(backbone):
    """Images of 48 x 64 at a working size of 96 are seen at twice the factor."""
    data, rng = tiny.dataset(1), np.random.default_rng([5, 0, 0])
    image, target = augment(data[0], (48, 64), (1.8, 2.4), CONFIG.jitter, rng)
    for view in (
        FrozenFeatures(AugmentedViews(data, CONFIG, 96), backbone).view,
        AugmentedViews(data, replace(CONFIG, small=0), 96),
    ):
        *maps, found = view(0, 0, np.random.default_rng([5, 0, 0]))
        assert torch.equal(found, target)
    assert torch.equal(maps[0], image)


@pytest.mark.parametrize(
    ("size", "crop", "sides"), [((48, 64), (64, 96), {32, 40, 64}), ((48, 96), (64, 96), {32, 40, 48})]
)
def test_an_image_is_resized_to_a_shorter_side_of_the_list_and_fits_into_the_crop(size, crop, sides):
    """The whole image, its longer side at most that of the crop: what is not image is void."""
    crop = (64, 96)
    config = replace(CONFIG, crop=crop, short_sides=(32, 40, 64), small=0.0, jitter=0.0)
    found = set()
    for i in range(24):
        image, target = AugmentedViews(tiny.dataset(1, size=size), config, 999)(0, 0, np.random.default_rng(i))
        assert image.shape[1:] == target.shape == crop
        inside = (target != IGNORE).numpy()
        height, width = int(inside.any(1).sum()), int(inside.any(0).sum())
        assert height / width == pytest.approx(size[0] / size[1], rel=0.05) and (inside[:height, :width]).all()
        found.add(height)
    assert found == sides
    halved = replace(config, small=1.0, short_sides=(64,))
    image, target = AugmentedViews(tiny.dataset(1, size=size), halved)(0, 0, np.random.default_rng(0))
    assert target.shape == (32, 48) and int((target != IGNORE).any(1).sum()) == max(sides) / 2
