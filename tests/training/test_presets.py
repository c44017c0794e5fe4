"""Settings by name: those of the papers, and that what is given wins over them."""

from dataclasses import asdict

import pytest

from owseg.errors import OwsegError
from owseg.models.residual_pattern import DENSE
from owseg.training.config import MEMBERS, SCALES, WIDTH, ResidualConfig, TrainConfig
from owseg.training.presets import RESIDUAL, TRAIN, configured, preset_named

PAPER = {
    "epochs": 40, "batch": 8, "crop": (700, 700), "scale": (1, 1), "context_scale": (1, 1), "jitter": 0, "pasted": 1,
    "pasted_into": "view", "factors": (0.25, 0.5, 0.5, 0.75, 0.1, 0.125), "context_centred": True, "skip": 0,
    "optimizer": "adam", "schedule": "poly", "lr": 7.5e-5, "final_lr": 7.5e-4, "weight_decay": 1e-4,
    "inlier_weight": 1, "entropy_weight": 1, "outlier_weight": 0.05, "contrast_weight": 1, "samples": 512,
    "temperature": 0.1, "losses_at": "image", "place": "penultimate", "form": "dense", "start": "kaiming",
}  # fmt: skip


def test_the_paper_s_residual():
    config = asdict(RESIDUAL["paper"])
    assert {name: config[name] for name in PAPER} == PAPER
    assert {name: config[name] for name in DENSE} == DENSE  # the pattern, as the models have it


def test_light_is_what_there_is_without_a_preset():
    assert RESIDUAL["light"] == ResidualConfig()
    light = TRAIN["light"]
    assert (light.config, light.decoder) == (TrainConfig(), "pyramid")
    assert (light.width, light.members, light.scales) == (WIDTH, MEMBERS, SCALES)


@pytest.mark.parametrize(("name", "images", "steps"), [("streethazards", 5125, 30_000), ("cityscapes", 2975, 30_000)])
def test_dmlnet_s_trainings(name, images, steps):
    paper, code = TRAIN[f"dmlnet-{name}"], TRAIN[f"dmlnet-{name}-code"]
    for preset in (paper, code):
        config = preset.config
        assert (config.optimizer, config.schedule, config.weight_decay) == ("sgd", "poly", 1e-4)
        assert (config.mode, config.freeze_stem) == ("tuned", False)
        assert config.balance == config.ema == config.small == 0 and config.scale == (1, 1)
        assert (preset.members, preset.scales) == (1, (1.0,))
        decoder = ("pspnet", 512) if name == "streethazards" else ("deeplabv3plus", 256)
        assert (preset.decoder, preset.width) == decoder
        assert images // config.batch * config.epochs == pytest.approx(steps, rel=0.005)
    assert paper.config.variance_weight == 0.01
    if name == "streethazards":
        assert paper.config.short_sides == (300, 375, 450, 525, 600) and max(paper.config.crop) == 1000
        assert paper.config.lr == paper.config.backbone_lr == 0.02
        assert (paper.config.label_stride, paper.config.jitter) == (8, 0)
        assert code.config.variance_weight == pytest.approx(0.01 * code.config.batch)
    else:
        assert paper.config.crop == (768, 768) and not paper.config.short_sides and paper.config.jitter == 0.5
        assert paper.config.lr == pytest.approx(10 * paper.config.backbone_lr)
        assert code.config.variance_weight == 0 and paper.config.label_stride == 1


def test_what_is_given_wins_over_the_preset():
    made = configured(RESIDUAL["paper"], {"rates": "1,2", "lr": "0.5", "form": "light"}, epochs=3, batch=None)
    assert (made.rates, made.lr, made.form, made.epochs) == ((1, 2), 0.5, "light", 3)
    assert made.batch == 8 and made.outlier_weight == 0.05
    assert configured(TrainConfig(), {"short_sides": "300,375"}).short_sides == (300, 375)
    assert configured(TRAIN["dmlnet-streethazards"].config, {"short_sides": "none"}).short_sides == ()
    assert configured(TRAIN["dmlnet-cityscapes"].config, {"freeze_stem": "true"}).freeze_stem


@pytest.mark.parametrize(("settings", "given", "message"), [
    ({"learning": "1"}, {}, "the training has no option 'learning'; it has epochs, batch"),
    ({"lr": "x"}, {}, "lr is a number, not 'x'"),
    ({"rates": "3,x"}, {}, "rates is numbers with commas, not '3,x'"),
    ({"optimizer": "lion"}, {}, "no optimizer 'lion'; it is one of adamw, adam, sgd"),
    ({"schedule": "flat"}, {}, "no schedule 'flat'; it is one of cycle, poly"),
    ({"losses_at": "roof"}, {}, "at the grid or image, not at 'roof'"),
    ({"epochs": "2"}, {"epochs": 3}, "epochs is given twice"),
])  # fmt: skip
def test_settings_that_cannot_be_read(settings, given, message):
    with pytest.raises(OwsegError, match=message):
        configured(ResidualConfig(), settings, **given)


def test_the_factors_of_an_outlier_are_numbers():
    assert configured(ResidualConfig(), {"factors": "0.5,1"}).factors == (0.5, 1.0)
    assert configured(RESIDUAL["paper"], {"factors": "none"}).factors == ()


def test_a_preset_that_does_not_exist():
    with pytest.raises(OwsegError, match="no preset 'heavy'; it is one of light, paper"):
        preset_named(RESIDUAL, "heavy")
