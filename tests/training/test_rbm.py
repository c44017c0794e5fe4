import weakref

import numpy as np
import pytest
import torch

from owseg.data.dataset import DataSet, Source
from owseg.errors import OwsegError
from owseg.image_scorers.rbm import PatchAutoencoder, load, score
from owseg.labels import IGNORE, LabelSpace
from owseg.training import BASELINES
from owseg.training.config import RBMConfig
from owseg.training.rbm import ClassPatches, PatchObjective, _mean_error, patches_within, train_rbm
from owseg.types import Sample
from tests.support import tiny

QUICK = RBMConfig(epochs=6, batch=4, patches=32, lr=1e-2)


def data(count=8):
    """Images of 16x16 blocks, whose first class, "road", is red."""
    return tiny.dataset(count)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return train_rbm(data(), data(3), config=QUICK, run=tmp_path_factory.mktemp("run"), side=0)


def test_only_patches_all_of_whose_pixels_are_of_the_class_are_taken():
    reader, sample = PatchAutoencoder(side=0), data()[0]
    found = ClassPatches(data(), 0, reader, 5).all_of(sample)
    expected = []
    for row in range(0, 48 - 7, 6):
        for column in range(0, 64 - 7, 6):
            if (sample.target[row : row + 8, column : column + 8] == 0).all():
                values = sample.image[:, row : row + 8, column : column + 8].astype(np.float64).ravel() / 255
                expected.append(values - values.mean())
    assert 0 < len(expected) < 60
    np.testing.assert_allclose(found.numpy(), np.array(expected), atol=1e-6)
    (drawn,) = ClassPatches(data(), 0, reader, 5)(0, 0, np.random.default_rng(0))
    assert drawn.shape == (5, 192) and all((found == row).all(1).any() for row in drawn)


def test_masks_are_resized_with_their_images():
    sample = Sample(np.zeros((3, 48, 64), np.uint8), np.zeros((48, 64), np.uint8), "a")
    inside = np.zeros((48, 64), bool)
    inside[:, 32:] = True
    found = patches_within(PatchAutoencoder(side=24), sample, inside)  # 24x32: columns 18 and 24 of 0, 6, 12, 18, 24
    assert len(found) == 3 * 2


def test_the_loss_is_that_of_the_patch_without_the_noise():
    made, patches = PatchAutoencoder(), torch.rand(2, 3, 192) - 0.5
    torch.manual_seed(4)
    noise = torch.randn(2, 3, 192) * 0.3
    torch.manual_seed(4)
    found = PatchObjective(made, 0.3)(patches).item()
    expected = (made(patches + noise) - patches).double().square().mean().item()
    assert found == pytest.approx(expected, rel=1e-5)
    assert found != pytest.approx((made(patches) - patches).double().square().mean().item(), rel=1e-3)


def test_road_is_reconstructed_better_than_before_and_other_classes_score_higher(model):
    torch.manual_seed(0)
    before, sample = PatchAutoencoder(side=0), data()[0]
    road = patches_within(model, sample, sample.target == 0)
    assert model.error(road).mean() < 0.7 * before.error(road).mean()
    # A patch of noise around one colour looks the same whatever the colour; the border of two does not.
    known = np.mean([score(model, s.image)[s.target == 0].mean() for s in data()])
    mixed = data()[0].image.copy()
    mixed[:, ::2] = 255 - mixed[:, ::2]
    assert score(model, mixed).mean() > 2 * known


def test_the_mean_error_is_that_of_known_patches_of_val(model):
    errors = [model.error(model.patches(model.resized(s.image))) for s in data(3)]
    assert model.mean_error.item() == pytest.approx(torch.cat(errors).double().mean().item(), rel=1e-5)


def half_void(count):
    """The same images, whose right half is grey and void."""
    source = data(count).source

    def read(i):
        image, ids = (part.copy() for part in source.read(i))
        image[:, :, 32:], ids[:, 32:] = 128, IGNORE
        return image, ids

    return DataSet(Source("half", source.classes, source.ids, read), source.classes)


def test_void_is_neither_in_the_patches_nor_in_the_mean(tmp_path):
    found = train_rbm(half_void(8), half_void(3), config=QUICK, run=tmp_path, side=0)
    errors = [found.error(patches_within(found, s, s.target < 3)) for s in half_void(3)]
    assert found.mean_error.item() == pytest.approx(torch.cat(errors).double().mean().item(), rel=1e-5)


def test_the_same_seed_gives_the_same_weights(model, tmp_path):
    again = train_rbm(data(), data(3), config=QUICK, run=tmp_path / "a", side=0)
    assert all(torch.equal(v, again.state_dict()[n]) for n, v in model.state_dict().items())


def test_what_cannot_be_trained_on_is_named(tmp_path):
    with pytest.raises(OwsegError, match="there is no class 'street'; the classes are road, sky, tree"):
        train_rbm(data(), data(3), "street", QUICK, tmp_path)
    plain = tiny.dataset()
    bare = DataSet(Source("bare", plain.labels, ("f",), lambda i: (plain.source.read(i)[0], None)), plain.labels)
    with pytest.raises(OwsegError, match="f has no mask; training needs one for every image"):
        train_rbm(bare, data(3), config=QUICK, run=tmp_path)
    labels = LabelSpace.of(("road", "sky", "tree", "cow"))
    for one, other in ((data(), DataSet(data(3).source, labels)), (DataSet(data().source, labels), data(3))):
        with pytest.raises(OwsegError, match="no patch of tiny is all"):
            train_rbm(one, other, "cow" if "cow" in one.labels else "road", QUICK, tmp_path, side=12)
    with pytest.raises(OwsegError, match="8 images do not fill a batch of 9"):
        train_rbm(data(), data(3), config=RBMConfig(batch=9), run=tmp_path, side=0)


def test_the_card_trains_with_its_options_and_stores(tmp_path):
    options = {"of": "sky", "side": 0, "epochs": 2, "batch": 4, "lr": 1e-3, "patches": 16}
    assert set(options) == set(BASELINES.entries["rbm"].options)
    kb, out = tiny.knowledge_base(), tmp_path / "rbm.safetensors"
    assert BASELINES.make("rbm", kb, data(), data(3), out, tmp_path / "run", False, 5, **options) == out
    config = RBMConfig(epochs=2, batch=4, lr=1e-3, patches=16, seed=5)
    expected = train_rbm(data(), data(3), "sky", config, tmp_path / "other", side=0)
    stored = load(out)
    assert all(torch.equal(v, stored.state_dict()[n]) for n, v in expected.state_dict().items())
    assert (tmp_path / "run" / "metrics.csv").is_file()


def test_the_patches_of_one_image_are_held_at_a_time():
    alive = []

    def patches():
        for count in (1, 2, 5):
            some = torch.rand(count, 192) - 0.5
            alive.append((weakref.ref(some), some.clone()))
            yield some
            del some
            assert sum(held() is not None for held, _ in alive) <= 2

    made = PatchAutoencoder()
    found = _mean_error(made, patches())
    assert found == pytest.approx(made.error(torch.cat([same for _, same in alive])).mean().item(), rel=1e-5)
    assert np.isnan(_mean_error(made, []))
