"""The settings of a training: what they refuse, and that they are read without torch."""

import inspect
import subprocess
import sys
from dataclasses import asdict, fields, replace

import pytest

from owseg.data import copy_paste
from owseg.errors import OwsegError
from owseg.training.config import (
    LoopConfig,
    NegativeConfig,
    PastingConfig,
    ResidualConfig,
    TrainConfig,
)
from owseg.training.epochs import USUAL_IMAGES, enough_epochs


@pytest.mark.parametrize("kind", [LoopConfig, TrainConfig, ResidualConfig])
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs must be 1 or more, not 0"),
        ({"batch": 0}, "batch must be 1 or more, not 0"),
        ({"devices": 0}, "devices must be 1 or more, not 0"),
        ({"validate_every": 0}, "validate_every must be 1 or more, not 0"),
        ({"seed": -1}, "seed must be 0 or more, not -1"),
        ({"lr": -1.0}, "lr must be above 0, not -1"),
        ({"lr": 0.0}, "lr must be above 0, not 0"),
        ({"lr": float("nan")}, "lr must be a number, not nan"),
        ({"scale": (0.0, 1.0)}, "scale must be above 0, not 0"),
        ({"scale": (1.0, float("inf"))}, "scale must be a number, not inf"),
        ({"scale": (1.0,)}, "crop and scale have two numbers each"),
        ({"crop": (64,)}, "crop and scale have two numbers each"),
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more, not -0.1"),
        ({"crop": (31, 64)}, "at least 32x32 pixels, not 31x64"),
        ({"precision": "8"}, "no precision '8'; it is one of 32-true, bf16-mixed, 16-mixed"),
    ],
    ids=str,
)
def test_settings_that_no_training_can_run_with(kind, setting, message):
    with pytest.raises(OwsegError, match=message):
        kind(**setting)
    with pytest.raises(OwsegError, match=message):
        replace(kind(), **setting)


@pytest.mark.parametrize(("setting", "message"), [
    ({"mode": "free"}, "no mode 'free'; it is frozen or tuned"),
    ({"label_stride": 0}, "label_stride must be 1 or more, not 0"),
    ({"views": 0}, "views must be 1 or more, not 0"),
    ({"ema": 2.0}, "ema and small are shares from 0 to 1, not 2 and 0.4"),
    ({"small": 7.0}, "ema and small are shares from 0 to 1, not 0.99 and 7"),
    ({"short_sides": (300, 16)}, "at least 32 pixels, not 16"),
    ({"dce_weight": 0, "variance_weight": 0}, "not both 0"),
    ({"dce_weight": -1}, "are 0 or more"),
    ({"variance_weight": -1}, "are 0 or more"),
])  # fmt: skip
def test_settings_of_a_segmentation_network(setting, message):
    with pytest.raises(OwsegError, match=message):
        TrainConfig(**setting)


@pytest.mark.parametrize(("setting", "message"), [
    ({"pasted_into": "sky"}, "pasted into the image or view, not 'sky'"),
    ({"factors": (0.5, 0.0)}, "a factor above 0, not 0"),
])  # fmt: skip
@pytest.mark.parametrize("kind", [ResidualConfig, NegativeConfig])
def test_settings_of_what_is_pasted(kind, setting, message):
    with pytest.raises(OwsegError, match=message):
        kind(**setting)


def test_every_kind_has_the_settings_of_the_loop():
    shared = {f.name for f in fields(LoopConfig)}
    for kind in (TrainConfig, ResidualConfig, NegativeConfig):
        assert issubclass(kind, LoopConfig) and shared < set(asdict(kind()))
        assert all(getattr(kind, name) == getattr(kind(), name) for name in asdict(kind()))
    assert hash(TrainConfig()) == hash(TrainConfig()) and TrainConfig() != TrainConfig(seed=1)


def test_outliers_are_pasted_by_default_as_paste_does():
    defaults = inspect.signature(copy_paste.paste).parameters
    assert all(getattr(PastingConfig(), n) == defaults[n].default for n in ("sizes", "feather", "factors"))


def test_they_are_read_without_torch():
    code = "import sys, owseg.training.presets; print({'torch', 'transformers'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


@pytest.mark.parametrize("config", [TrainConfig(batch=8), NegativeConfig(batch=5, seed=3), TrainConfig(batch=1000)])
def test_few_images_are_seen_more_often_so_that_steps_are_as_many(config):
    usual = config.epochs * -(-USUAL_IMAGES // config.batch)
    for images in (1, 3, 32, 366):
        found = enough_epochs(config, images)
        steps = found.epochs * -(-images // config.batch)
        assert usual <= steps < usual + -(-images // config.batch)
        assert replace(found, epochs=config.epochs, validate_every=config.validate_every) == config
        assert found.epochs // found.validate_every <= config.epochs // config.validate_every  # no more validations
    assert enough_epochs(config, USUAL_IMAGES) == enough_epochs(config, 10**6) == config
