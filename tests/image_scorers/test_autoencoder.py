import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from owseg.data.dataset import DataSet, Source
from owseg.errors import OwsegError
from owseg.image_scorers.autoencoder import Autoencoder, load, save, score
from owseg.labels import IGNORE
from owseg.training.autoencoder import train_autoencoder
from tests.support import tiny

QUICK = {"epochs": 15, "batch": 4, "crop": (48, 64), "width": 8, "depth": 3, "lr": 1e-2}


@pytest.fixture(scope="module")
def model():
    return train_autoencoder(tiny.dataset(), **QUICK)


@pytest.mark.parametrize("size", [(48, 64), (33, 47), (16, 16)])
def test_the_score_is_the_mean_squared_error_of_each_pixel(model, size):
    image = np.random.default_rng(0).integers(0, 256, (3, *size)).astype(np.uint8)
    found = score(model, image)
    assert found.shape == size and found.dtype == np.float32
    with torch.no_grad():
        reconstructed = model(torch.from_numpy(image)[None].float() / 255)[0].double().numpy()
    for i, j in [(0, 0), (5, 9), (size[0] - 1, size[1] - 1)]:
        error = [(reconstructed[c, i, j] - image[c, i, j] / 255) ** 2 for c in range(3)]
        assert found[i, j] == pytest.approx(sum(error) / 3, abs=1e-6)
    assert reconstructed.min() >= 0 and reconstructed.max() <= 1


def test_training_images_are_reconstructed_better_than_before_and_than_new_things(model):
    known = np.mean([score(model, s.image).mean() for s in tiny.dataset()])
    untrained = Autoencoder().eval()
    assert known < 0.5 * np.mean([score(untrained, s.image).mean() for s in tiny.dataset()])
    anomalous = tiny.dataset()[0].image.copy()
    anomalous[:, 16:32, 16:32] = np.array([10, 10, 10])[:, None, None]  # of no class
    found = score(model, anomalous)
    inside = np.zeros((48, 64), bool)
    inside[18:30, 18:30] = True
    assert found[inside].mean() > 2 * known


def test_the_same_seed_gives_the_same_weights_and_leaves_the_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    again, once = (train_autoencoder(tiny.dataset(), **{**QUICK, "epochs": 2}) for _ in range(2))
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(v, again.state_dict()[n]) for n, v in once.state_dict().items())
    other = train_autoencoder(tiny.dataset(), seed=1, **{**QUICK, "epochs": 2})
    assert not torch.equal(other.draw.weight, once.draw.weight)


def test_pixels_that_are_not_known_do_not_count():
    """Where half of every image is void, the loss does not read that half: its reconstruction is worse."""
    whole = tiny.dataset()

    def read(i):
        image, ids = whole.source.read(i)
        image, ids = image.copy(), ids.copy()
        image[:, :, 32:], ids[:, 32:] = np.array([20, 20, 20])[:, None, None], IGNORE
        return image, ids

    masked = DataSet(Source("half", whole.labels, whole.source.ids, read), whole.labels)
    plain = DataSet(Source("half", whole.labels, whole.source.ids, lambda i: (read(i)[0], None)), whole.labels)
    scores = [score(train_autoencoder(d, **QUICK), read(0)[0]) for d in (masked, plain)]
    assert scores[0][:, 40:].mean() > 2 * scores[1][:, 40:].mean()


def test_a_file_holds_it_whole(model, tmp_path):
    small = train_autoencoder(tiny.dataset(), **{**QUICK, "epochs": 1}, code=4)
    loaded = load(save(small, tmp_path / "ae.safetensors"))
    assert not loaded.training and loaded.config == {"width": 8, "depth": 3, "code": 4}
    assert np.array_equal(score(loaded, tiny.image()), score(small, tiny.image()))


def test_bad_files_and_too_few_images_are_named(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    (tmp_path / "y.safetensors").write_bytes(b"no")
    for name in ("x.safetensors", "y.safetensors", "z.safetensors"):
        with pytest.raises(OwsegError, match=rf"{name} does not hold an autoencoder"):
            load(tmp_path / name)
    with pytest.raises(OwsegError, match="8 images do not fill a batch of 9"):
        train_autoencoder(tiny.dataset(), batch=9)
    with pytest.raises(OwsegError, match="uint8"):
        score(Autoencoder().eval(), np.zeros((3, 32, 32)))
