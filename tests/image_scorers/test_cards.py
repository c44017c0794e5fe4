"""Image scorers by name: each card makes what its functions make, with the options that it names."""

import numpy as np
import pytest
import torch

from owseg._registry import with_options
from owseg.errors import OwsegError
from owseg.image_scorers import IMAGE_SCORERS, duir, synthcp
from owseg.image_scorers import rbm as patches
from owseg.image_scorers.autoencoder import Autoencoder, save, score
from owseg.image_scorers.ensemble import ensemble, mc_dropout
from owseg.image_scorers.mirrored import mirrored
from owseg.image_scorers.rbm import PatchAutoencoder
from owseg.training import BASELINES
from tests.support import tiny
from tests.support.drawn import duir_of, synthcp_of
from tests.support.registries import assert_cards_are_what_their_text_says


def autoencoder(kb, place):
    torch.manual_seed(0)
    model = Autoencoder(width=4, depth=2, code=3).eval()
    return {"weights": str(save(model, place / "ae.safetensors"))}, lambda image: score(model, image)


def rbm(kb, place):
    torch.manual_seed(0)
    model = PatchAutoencoder(hidden=3, patch=4, side=0)
    model.mean_error.fill_(0.1)
    return {"weights": str(patches.save(model, place / "rbm.safetensors"))}, lambda image: patches.score(model, image)


def resynthesis(kb, place):
    return {"weights": str(duir.save(duir_of(kb), place / "duir.safetensors"))}, duir.duir(kb, duir_of(kb))


def redrawn(kb, place):
    model = synthcp_of(kb)
    return {"weights": str(synthcp.save(model, place / "s.safetensors"))}, synthcp.synthcp(kb, model)


def other_members(kb, place):
    other = tiny.knowledge_base(classifier="linear")
    kb.save(place / "a"), other.save(place / "b")
    options = {"members": f"{place / 'a'},{place / 'b'}", "score": "msp"}
    return options, ensemble([kb, kb, other], "msp")


MADE = {
    "autoencoder": autoencoder,
    "duir": resynthesis,
    "rbm": rbm,
    "synthcp": redrawn,
    "ensemble": other_members,
    "mc_dropout": lambda kb, place: (
        {"passes": "3", "rate": "0.4", "score": "mutual_information"}, mc_dropout(kb, 3, 0.4, 5, "mutual_information")
    ),
    "mirrored": lambda kb, place: ({"score": "eds"}, mirrored(kb, "eds")),
}  # fmt: skip


def test_cards_are_what_their_text_says():
    assert_cards_are_what_their_text_says(IMAGE_SCORERS)


def test_every_image_scorer_has_a_row():
    assert {*MADE, "dense_crf", "dense_crf_code"} == set(IMAGE_SCORERS)


@pytest.mark.parametrize("name", MADE)
def test_a_card_makes_it_with_its_options(name, tmp_path):
    kb, image = tiny.knowledge_base(), tiny.image(size=(64, 96))
    options, expected = MADE[name](kb, tmp_path)
    assert set(options) == set(IMAGE_SCORERS.entries[name].options)
    found = with_options(IMAGE_SCORERS[name], options, kb, 5)(image)
    assert found.shape == (64, 96) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected(image), atol=1e-6)


def test_the_crf_is_made_with_its_options(monkeypatch):
    asked = []
    card, kb = IMAGE_SCORERS["dense_crf"], tiny.knowledge_base()
    monkeypatch.setattr("owseg.image_scorers.dense_crf.dense_crf", lambda *options: asked.append(options))
    card.make(kb, 3)
    options = {"iterations": "2", "smooth": "1,2", "appearance": "4,5,6", "compare": "probabilities"}
    with_options(card, options, kb, 3)
    assert set(options) == set(card.options)
    IMAGE_SCORERS["dense_crf_code"].make(kb, 3)
    assert asked == [
        (kb, 5, (3.0, 3.0), (10.0, 80.0, 13.0), "colours"),
        (kb, 2, (1.0, 2.0), (4.0, 5.0, 6.0), "probabilities"),
        (kb, 100, (0.0, 3.0), (10.0, 10.0, 13.0), "probabilities"),
    ]


@pytest.mark.parametrize(
    "name,reason",
    [
        *((n, f"{n} needs its weights; .* `owseg fit-baseline {n}` stored") for n in BASELINES),
        ("ensemble", "at least two members"),
    ],
)
def test_what_an_image_scorer_needs_is_named(name, reason):
    with pytest.raises(OwsegError, match=reason):
        IMAGE_SCORERS[name].make(tiny.knowledge_base(), 0)
    required = IMAGE_SCORERS.entries[name].facts["required"]  # which a recipe has to give
    assert required and set(required) <= set(IMAGE_SCORERS.entries[name].options)


def test_the_seed_of_dropout_reaches_it():
    kb, image = tiny.knowledge_base(), tiny.image()
    first, second = (IMAGE_SCORERS["mc_dropout"].make(kb, seed, passes=2)(image) for seed in (0, 1))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, mc_dropout(kb, 2)(image)) and np.array_equal(second, mc_dropout(kb, 2, seed=1)(image))
