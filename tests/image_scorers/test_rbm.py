import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from owseg.errors import OwsegError
from owseg.image_scorers.rbm import PatchAutoencoder, load, save, score
from tests.reference import patches as oracle
from tests.support import tiny


def model(mean=0.15, **options):
    torch.manual_seed(0)
    made = PatchAutoencoder(**{"side": 0, **options})
    with torch.no_grad():
        made.hidden_bias.normal_()
        made.visible_bias.normal_(std=0.05)
        made.mean_error.fill_(mean)
    return made.eval()


def weights(made):
    state = made.state_dict()
    return [state[name].double().tolist() for name in ("weight", "hidden_bias", "visible_bias")]


def test_it_has_the_published_size():
    made = PatchAutoencoder()
    assert sum(p.numel() for p in made.parameters()) == 4052
    assert made.config == {"hidden": 20, "patch": 8, "stride": 6, "side": 512}


@pytest.mark.parametrize("patch,stride", [(8, 6), (4, 3), (4, 4)])
def test_the_score_is_its_equation(patch, stride):
    made, image = model(patch=patch, stride=stride), tiny.image(3, (24, 32))[:, :23, :29]
    found = score(made, image)
    errors = oracle.errors(image, *weights(made), patch, stride)
    expected = np.array(oracle.score(errors, 0.15 * 1.0, (23, 29), patch))
    assert found.dtype == np.float32 and found.shape == (23, 29)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert 0 < (expected == 0).mean() < 1 and expected.max() > 0.1  # either side of the mean is tried


def test_a_score_does_not_depend_on_other_images_and_what_no_patch_reaches_has_none():
    made, image = model(mean=1e-3), tiny.image(0, (24, 32))
    first = score(made, image)
    score(made, tiny.image(1, (24, 32)))
    assert np.array_equal(score(made, image), first)
    # Patches begin at columns 0, 6, 12, 18 and 24, and at rows 0, 6 and 12.
    assert (first[20:] == 0).all() and (first[:20] > 0).all()
    assert (score(model(mean=10.0), image) == 0).all()


def test_images_are_resized_to_the_side_of_the_training():
    made, image = model(side=24), tiny.image(0, (48, 64))
    assert made.resized(image).shape == (1, 3, 24, 32)
    assert score(made, image).shape == (48, 64)
    assert not np.array_equal(score(made, image), score(model(), image))
    assert model().resized(image).shape == (1, 3, 48, 64)


def test_a_perfect_reconstruction_is_known():
    made = model(mean=0.1)
    grey = np.full((3, 16, 16), 90, np.uint8)
    with torch.no_grad():
        made.weight.zero_(), made.visible_bias.zero_()
    assert (score(made, grey) == 0).all()  # a patch of one colour is 0 once its mean is gone, and so is this one


def test_a_file_holds_it_whole_and_others_are_named(tmp_path):
    made = model(hidden=5, patch=4)
    again = load(save(made, tmp_path / "rbm.safetensors"))
    assert again.config == {**made.config} and not again.training
    assert np.array_equal(score(again, tiny.image()), score(made, tiny.image()))
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    made.mean_error.fill_(float("nan"))
    save(made, tmp_path / "nan.safetensors")
    for name in ("x.safetensors", "z.safetensors", "nan.safetensors"):
        with pytest.raises(OwsegError, match=rf"{name} does not hold an autoencoder of patches"):
            load(tmp_path / name)


def test_bad_images_are_refused():
    with pytest.raises(OwsegError, match="an image of 7x30 pixels has no patch of 8x8"):
        score(model(), np.zeros((3, 7, 30), np.uint8))
    with pytest.raises(OwsegError, match="uint8"):
        score(model(), np.zeros((3, 32, 32)))
