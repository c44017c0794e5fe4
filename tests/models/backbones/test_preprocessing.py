"""What a preprocessor beside the weights says of mean and deviation is used."""

import json

import pytest

from owseg.errors import OwsegError
from owseg.models.backbones.base import build, from_pretrained
from owseg.models.backbones.family import IMAGENET
from owseg.models.backbones.preprocessing import read_normalisation
from tests.support import tiny

SATELLITE = ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))  # DINOv3's
VALUES = {"image_mean": list(SATELLITE[0]), "image_std": list(SATELLITE[1]), "rescale_factor": 1 / 255}


def write(folder, text, name="preprocessor_config.json"):
    tiny.backbone("dinov3_vit").model.save_pretrained(folder)
    (folder / name).write_text(text if isinstance(text, str) else json.dumps(text))
    return str(folder)


def normalisation(backbone):
    return backbone.mean.flatten().tolist(), backbone.std.flatten().tolist()


def near(values):
    return pytest.approx(values[0]), pytest.approx(values[1])


@pytest.mark.parametrize(
    ("name", "values"),
    [("preprocessor_config.json", VALUES), ("processor_config.json", {"image_processor": VALUES})],
)
def test_the_stored_normalisation_is_used_and_kept(name, values, tmp_path):
    backbone = from_pretrained(write(tmp_path, values, name))
    assert normalisation(backbone) == near(SATELLITE)
    assert normalisation(build(json.loads(json.dumps(backbone.config)))) == near(SATELLITE)


def test_without_one_it_is_that_of_the_family(tmp_path):
    assert normalisation(from_pretrained(write(tmp_path, {"size": 224}))) == near(IMAGENET)
    (tmp_path / "preprocessor_config.json").unlink()
    assert normalisation(from_pretrained(str(tmp_path))) == near(IMAGENET)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (VALUES, SATELLITE),
        ({**VALUES, "rescale_factor": 2 / 255}, tuple([v / 2 for v in values] for values in SATELLITE)),
        ({"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51] * 3}, ((0.5,) * 3, (0.2,) * 3)),
        ({**VALUES, "do_normalize": False}, ((0.0,) * 3, (1.0,) * 3)),
    ],
)
def test_a_preprocessor_is_read_as_a_function_of_numbers_from_0_to_1(values, expected):
    """The image it makes of bytes is (x - mean) / std of x = bytes / 255."""
    mean, std = read_normalisation(values)
    assert (mean, std) == near(expected)


@pytest.mark.parametrize("missing", ["image_mean", "image_std"])
def test_half_a_normalisation_is_none(missing):
    assert read_normalisation({**VALUES, missing: None}) is None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ("{", "not a valid JSON"),
        ({**VALUES, "image_mean": [0.5]}, "where three numbers are needed"),
        ({**VALUES, "image_std": 0.5}, "where three numbers are needed"),
        ({**VALUES, "image_mean": ["a", 0, 0]}, "where three numbers are needed"),
        ({**VALUES, "image_std": [1, 0, 1]}, "are not positive"),
        ({**VALUES, "image_std": [1, float("nan"), 1]}, "where three numbers are needed"),
        ({**VALUES, "rescale_factor": 0}, "are not positive"),
    ],
)
def test_a_damaged_one_is_refused(values, reason, tmp_path):
    with pytest.raises(OwsegError, match=f"cannot be loaded.*{reason}"):
        from_pretrained(write(tmp_path, values))
