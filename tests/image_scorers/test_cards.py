"""Image scorers by name: each card makes what its functions make, with the options that it names."""

import numpy as np
import pytest
import torch

from owseg._registry import with_options
from owseg.errors import OwsegError
from owseg.image_scorers import IMAGE_SCORERS
from owseg.image_scorers.autoencoder import Autoencoder, save, score
from owseg.image_scorers.ensemble import ensemble, mc_dropout
from owseg.image_scorers.mirrored import mirrored
from tests.support import tiny
from tests.support.registries import assert_cards_are_what_their_text_says


def autoencoder(kb, place):
    torch.manual_seed(0)
    model = Autoencoder(width=4, depth=2, code=3).eval()
    return {"weights": str(save(model, place / "ae.safetensors"))}, lambda image: score(model, image)


def other_members(kb, place):
    other = tiny.knowledge_base(classifier="linear")
    kb.save(place / "a"), other.save(place / "b")
    options = {"members": f"{place / 'a'},{place / 'b'}", "score": "msp"}
    return options, ensemble([kb, kb, other], "msp")


MADE = {
    "autoencoder": autoencoder,
    "ensemble": other_members,
    "mc_dropout": lambda kb, place: (
        {"passes": "3", "rate": "0.4", "score": "mutual_information"}, mc_dropout(kb, 3, 0.4, 5, "mutual_information")
    ),
    "mirrored": lambda kb, place: ({"score": "eds"}, mirrored(kb, "eds")),
}  # fmt: skip


def test_cards_are_what_their_text_says():
    assert_cards_are_what_their_text_says(IMAGE_SCORERS)


def test_every_image_scorer_has_a_row():
    assert {*MADE, "dense_crf"} == set(IMAGE_SCORERS)


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
    with_options(card, {"iterations": "2", "smooth": "1,2", "appearance": "4,5,6"}, kb, 3)
    assert asked == [(kb, 5, (3.0, 3.0), (10.0, 80.0, 13.0)), (kb, 2, (1.0, 2.0), (4.0, 5.0, 6.0))]


@pytest.mark.parametrize(
    "name,reason",
    [
        ("autoencoder", "needs its weights"),
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
