import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from owseg.data.dataset import DataSet, Source
from owseg.errors import OwsegError
from owseg.image_scorers.autoencoder import Autoencoder, load, save, score
from owseg.labels import IGNORE
from owseg.training.autoencoder import LIGHT, ReconstructionObjective, train_autoencoder
from owseg.training.checkpoint import Checkpoint
from tests.support import tiny

QUICK = replace(LIGHT, epochs=15, batch=4, crop=(48, 64), lr=1e-2, validate_every=5)
SIZES = {"width": 8, "depth": 3}


def trained(run, data=None, **settings):
    data = data or tiny.dataset()
    return train_autoencoder(data, data.pick(range(3)), replace(QUICK, **settings), run, **SIZES)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("run"))


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


def test_the_same_seed_gives_the_same_weights(tmp_path):
    again, once = (trained(tmp_path / str(i), epochs=2) for i in range(2))
    assert all(torch.equal(v, again.state_dict()[n]) for n, v in once.state_dict().items())
    assert not torch.equal(trained(tmp_path / "2", epochs=2, seed=1).draw.weight, once.draw.weight)


def test_the_loss_is_the_mean_over_the_pixels_that_count():
    torch.manual_seed(0)
    made, images, known = Autoencoder(4, 2).eval(), torch.rand(2, 3, 16, 24), torch.rand(2, 16, 24) > 0.6
    with torch.no_grad():
        errors = [
            sum((made(images)[b, c, i, j].double() - images[b, c, i, j]).item() ** 2 for c in range(3)) / 3
            for b, i, j in known.nonzero().tolist()
        ]
        loss = ReconstructionObjective(made)(images, known)
        assert loss.item() == pytest.approx(np.mean(errors), rel=1e-5)
        assert ReconstructionObjective(made)(images, known & False).item() == 0


def test_the_weights_of_least_error_on_val_are_kept(tmp_path):
    """Of a training that gets worse in the end, those before; and the error is that of known pixels."""
    whole = tiny.dataset(3)

    def read(i):
        image, ids = whole.source.read(i)
        image, ids = image.copy(), ids.copy()
        image[:, :, 48:], ids[:, 48:] = 255, IGNORE
        return image, ids

    val = DataSet(Source("val", whole.labels, whole.source.ids, read), whole.labels)
    config = replace(QUICK, epochs=6, validate_every=1, lr=3e-2)
    model = train_autoencoder(tiny.dataset(), val, config, tmp_path, **SIZES)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = [float(row["val_negative_error"]) for row in csv.DictReader(file)]
    errors = [score(model, val[i].image)[:, :48] for i in range(3)]
    assert max(rows) == pytest.approx(-np.mean(errors), rel=1e-4) and len(rows) == 6


def test_a_stopped_run_goes_on(tmp_path, monkeypatch):
    whole, real = trained(tmp_path / "whole", epochs=4, validate_every=1), Checkpoint.save

    def stop(self, state):
        real(self, state)
        if state["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", epochs=4, validate_every=1)
    monkeypatch.setattr(Checkpoint, "save", real)
    config, data = replace(QUICK, epochs=4, validate_every=1), tiny.dataset()
    again = train_autoencoder(data, data.pick(range(3)), config, tmp_path / "cut", True, **SIZES)
    assert all(torch.equal(v, again.state_dict()[n]) for n, v in whole.state_dict().items())


def test_pixels_that_are_not_known_do_not_count(tmp_path):
    """Where half of every image is void, the loss does not read that half: its reconstruction is worse."""
    whole = tiny.dataset()

    def read(i):
        image, ids = whole.source.read(i)
        image, ids = image.copy(), ids.copy()
        image[:, :, 32:], ids[:, 32:] = np.array([20, 20, 20])[:, None, None], IGNORE
        return image, ids

    masked = DataSet(Source("half", whole.labels, whole.source.ids, read), whole.labels)
    plain = DataSet(Source("half", whole.labels, whole.source.ids, lambda i: (read(i)[0], None)), whole.labels)
    scores = [score(trained(tmp_path / str(i), d), read(0)[0]) for i, d in enumerate((masked, plain))]
    assert scores[0][:, 40:].mean() > 2 * scores[1][:, 40:].mean()


def test_a_file_holds_it_whole(model, tmp_path):
    data, config = tiny.dataset(), replace(QUICK, epochs=1)
    small = train_autoencoder(data, data, config, tmp_path / "run", **SIZES, code=4)
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
        trained(tmp_path / "run", batch=9)
    void = DataSet(
        Source("void", tiny.dataset().labels, ("a",), lambda i: (tiny.image(), np.full((48, 64), IGNORE, np.uint8))),
        tiny.dataset().labels,
    )
    with pytest.raises(OwsegError, match="have no pixels to compute negative error from"):
        train_autoencoder(tiny.dataset(), void, replace(QUICK, epochs=1), tmp_path / "run", **SIZES)
    with pytest.raises(OwsegError, match="uint8"):
        score(Autoencoder().eval(), np.zeros((3, 32, 32)))
