"""Baselines by name: their cards, the presets, the images that they get, and what each stores can be measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from owseg._registry import read_options
from owseg.data.datasets import open_dataset
from owseg.errors import OwsegError
from owseg.image_scorers import IMAGE_SCORERS
from owseg.image_scorers.autoencoder import load
from owseg.labels import IGNORE
from owseg.training import BASELINES
from owseg.training.autoencoder import LIGHT, train_autoencoder
from owseg.training.baselines import fit_baseline, open_known
from tests.support import tiny
from tests.support.registries import assert_cards_are_what_their_text_says

DRAW = {"generator_epochs": "1", "generator_crop": "32,32", "generator_width": "4", "generator_depth": "1",
        "generator_blocks": "1", "generator_side": "32"}  # fmt: skip
QUICK = {
    "autoencoder": {"epochs": "1", "batch": "4", "crop": "48,64", "width": "4", "depth": "2"},
    "rbm": {"epochs": "1", "batch": "4", "side": "0"},
    "duir": {**DRAW, "epochs": "1", "crop": "48,64", "widths": "4,4", "label_widths": "3,3"},
    "synthcp": DRAW,
}


def test_cards_are_what_their_text_says():
    assert_cards_are_what_their_text_says(BASELINES)


@pytest.mark.parametrize("name", BASELINES)
def test_each_baseline_is_an_image_scorer_that_reads_its_weights(name):
    assert IMAGE_SCORERS.entries[name].facts["required"] == ("weights",)
    paper = BASELINES.entries[name].facts["paper"]
    assert set(read_options(BASELINES[name], paper)) == set(paper)


@pytest.mark.parametrize("name", BASELINES)
def test_what_is_stored_scores_an_image(name, tmp_path):
    kb, out = tiny.knowledge_base(), tmp_path / "deep" / "file.safetensors"
    path = fit_baseline(name, kb, tiny.dataset(), tiny.dataset(3), out, settings=QUICK[name])
    score = IMAGE_SCORERS.make(name, kb, 0, weights=str(path))(tiny.image())
    assert path == out and score.shape == (48, 64) and score.dtype == np.float32 and np.isfinite(score).all()
    again = fit_baseline(name, kb, tiny.dataset(), tiny.dataset(3), tmp_path / "again", settings=QUICK[name])
    other = fit_baseline(name, kb, tiny.dataset(), tiny.dataset(3), tmp_path / "other", settings=QUICK[name], seed=1)
    assert again.read_bytes() == path.read_bytes() != other.read_bytes()


def test_the_autoencoder_s_card_passes_its_options_on(tmp_path):
    options = {"epochs": 2, "batch": 4, "crop": (32, 48), "lr": 1e-2, "width": 4, "depth": 2, "code": 3}
    assert set(options) == set(BASELINES.entries["autoencoder"].options)
    arguments = (None, tiny.dataset(), tiny.dataset(3), tmp_path / "ae", tmp_path / "run")
    path = BASELINES.make("autoencoder", *arguments, False, 5, **options)
    sizes = {name: options.pop(name) for name in ("width", "depth", "code")}
    config = replace(LIGHT, seed=5, **options)
    expected = train_autoencoder(tiny.dataset(), tiny.dataset(3), config, tmp_path / "other", **sizes)
    assert all(torch.equal(v, load(path).state_dict()[n]) for n, v in expected.state_dict().items())
    with pytest.raises(OwsegError, match="other settings or data"):
        BASELINES.make("autoencoder", *arguments, True, 6, **options, **sizes)


def test_the_preset_of_the_paper_is_overridden_by_what_is_given(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(type(BASELINES), "make", lambda self, *given, **options: asked.append((given, options)))
    fit_baseline("rbm", "K", "D", "V", tmp_path / "o", "paper", {"epochs": "3"}, 4, True)
    fit_baseline("rbm", "K", "D", "V", tmp_path / "o")
    run = tmp_path / "o.run"
    assert asked == [
        (("rbm", "K", "D", "V", tmp_path / "o", run, True, 4), {"lr": 1e-5, "epochs": 3, "batch": 50}),
        (("rbm", "K", "D", "V", tmp_path / "o", run, False, 0), {}),
    ]


def test_unknown_names_are_refused(tmp_path):
    for arguments, words in (
        (("nothing",), "no baseline 'nothing'; it is one of autoencoder, duir, rbm, synthcp"),
        (("rbm", "large"), "no preset 'large'; it is one of light, paper"),
        (("rbm", "light", {"depth": "3"}), "rbm has no option 'depth'"),
    ):
        with pytest.raises(OwsegError, match=words):
            fit_baseline(arguments[0], None, None, None, tmp_path / "o", *arguments[1:])
    with pytest.raises(OwsegError, match="is a folder; name a file to store rbm in"):
        fit_baseline("rbm", None, None, None, tmp_path)


def test_known_images_are_those_of_train_and_val_in_the_network_s_classes(own_data, tmp_path):
    kb = tiny.knowledge_base()
    train, val = open_known(f"folder:{own_data}", kb)  # without splits, so an eighth of the images is held out
    assert (len(train), len(val)) == (7, 1) and train.labels.names == kb.labels.names
    assert train.source.ids == ("f0", "f1", "f2", "f3", "f4", "f5", "f6") and val.source.ids == ("f7",)
    rock = open_dataset(f"folder:{own_data}", "train")[0].target == 3
    assert rock.any() and (train[0].target[rock] == IGNORE).all() and (train[0].target[~rock] < 3).all()
    own_data.rename(tmp_path / "kept")
    for split, count in (("train", 5), ("val", 3)):
        for kind, end in (("images", "png"), ("masks", "png")):
            (own_data / split / kind).mkdir(parents=True)
            for i in range(count):
                file = tmp_path / "kept" / kind / f"f{i}.{end}"
                (own_data / split / kind / file.name).write_bytes(file.read_bytes())
    (own_data / "classes.json").write_bytes((tmp_path / "kept" / "classes.json").read_bytes())
    train, val = open_known(f"folder:{own_data}", kb)
    assert (len(train), len(val), val.source.ids) == (5, 3, ("f0", "f1", "f2"))
