"""Which scorers a knowledge base has."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from owseg.errors import OwsegError
from owseg.image_scorers import IMAGE_SCORERS
from owseg.knowledge.calibration import calibrate
from owseg.knowledge.load import load
from owseg.labels import BACKGROUND, LabelSpace
from owseg.scorers import SCORERS, available, configurable, fitted_names
from owseg.scorers.eds import eds
from owseg.scorers.mixture import mixture
from tests.support import tiny
from tests.support.outputs import labelled, network

LABELS = LabelSpace.of(("road", "sky", "tree", "car"))
PLAIN = {"msp", "max_logit", "energy", "entropy"}
METRIC = {"mmsp", "eds", "eds_paper", "eds_code", "mixture", "mixture_paper", "mixture_code", "max_similarity"}
MIXTURES = ("mixture", "mixture_paper", "mixture_code")


def fit(name):
    return SCORERS[name].make(network()).fit([labelled(0)])


@pytest.mark.parametrize("metric", [True, False])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("negative", [True, False])
def test_a_network_has_those_whose_needs_it_meets(metric, residual, negative):
    found = available(network(metric, negative=negative), LABELS, {}, residual)
    shown = ({"rpl"} if residual else set()) | ({"negative"} if negative else set())
    assert set(found) == PLAIN | (METRIC if metric else set()) | shown
    assert all(callable(scorer) for scorer in found.values())


@pytest.mark.parametrize("negative", [True, False])
def test_a_mask_classifier_has_the_scores_of_masks_as_well(negative):
    found = available(network(False, negative=negative, masks=True), LABELS, {}, False)
    assert set(found) == PLAIN | {"rba", "eam", "mask_msp"} | ({"negative", "uno"} if negative else set())


def test_background_is_the_class_of_that_name_among_the_network_s_own():
    names = ("road", "sky", BACKGROUND, "tree")
    output = labelled(3)[0]
    found = available(network(), LabelSpace.of(names), {}, False)
    assert (found["background"](output) == output.softmax_logits.softmax(1)[:, 2]).all()
    learned = LabelSpace.of((*LABELS.names, BACKGROUND))  # a class that was learned later is not an output
    assert "background" not in available(network(), learned, {}, False)


def test_a_knowledge_base_builds_its_table_of_scorers_once(monkeypatch):
    built = []

    def counted(*parts):
        built.append(parts)
        return available(*parts)

    monkeypatch.setattr("owseg.knowledge.base.available", counted)
    kb = tiny.knowledge_base()
    for seed in range(2):
        output = kb.forward(tiny.image(seed))
        kb.assess(output, (48, 64), ("msp", "eds", "energy"))
    assert len(built) == 1


def test_a_scorer_is_made_once_and_only_if_it_is_asked_for(monkeypatch):
    made, make = [], SCORERS.make
    monkeypatch.setattr(SCORERS, "make", lambda name, *parts, **options: made.append(name) or make(name, *parts))
    found = available(network(), LABELS, {}, False)
    assert "msp" in found and {"eds", "energy"} < set(found) and len(found) == len(PLAIN | METRIC) and not made
    assert found["msp"] is found["msp"] and made == ["msp"]
    with pytest.raises(KeyError):
        found["rpl"]


def test_the_docs_list_every_scorer():
    page = (Path(__file__).parents[2] / "docs" / "scorers.md").read_text("utf-8")
    for name in (*SCORERS, *IMAGE_SCORERS):
        assert f"`{name.removesuffix('_paper').removesuffix('_code')}`" in page, name
    assert all(f"`{option}`" in page for entry in IMAGE_SCORERS.entries.values() for option in entry.options)


@pytest.mark.parametrize("name", fitted_names())
def test_a_fitted_scorer_is_there_itself_with_what_it_is_made_of(name):
    scorer = fit(name)
    found = available(network(), LABELS, {name: scorer}, False)
    assert found[name] is scorer
    parts = {"joint": {"mahalanobis", "mahalanobis_absolute"}, "mahalanobis": {"mahalanobis_absolute"}}
    assert set(found) - PLAIN - METRIC == {name} | parts.get(name, set())
    if name == "joint":
        assert found["mahalanobis"] is scorer.mahalanobis


def test_a_scorer_that_was_fitted_alone_is_not_replaced_by_a_part_of_another():
    alone, joint = fit("mahalanobis"), fit("joint")
    for order in ({"joint": joint, "mahalanobis": alone}, {"mahalanobis": alone, "joint": joint}):
        assert available(network(), LABELS, order, False)["mahalanobis"] is alone


def test_options_may_follow_a_name():
    """The same scorer as made by hand, by name alone; the options are those that the card names."""
    made, output = available(network(), LABELS, {}, False), labelled(3)[0]
    for name, function, options in (
        ("mixture:beta=7:gamma=0.5", mixture, {"beta": 7.0, "gamma": 0.5}),
        ("mixture_code:gamma=0.3", mixture, {"normalisation": "code", "beta": 50.0, "gamma": 0.3}),
        ("mixture_paper:beta=2", mixture, {"normalisation": "paper", "beta": 2.0}),
        ("eds_code:clip=30", eds, {"normalisation": "code", "clip": 30.0}),
    ):
        assert name in made and name not in set(made)
        assert torch.equal(made[name](output), function(output, **options))
        assert not torch.equal(made[name](output), made[name.split(":")[0]](output))
    assert "none:beta=7" not in made and 3 not in made
    assert configurable() == {"eds_code": ("clip",), "rpl": ("smooth",), **dict.fromkeys(MIXTURES, ("beta", "gamma"))}


def test_the_energy_of_a_residual_is_smoothed_if_asked_for():
    """Against scipy, which mirrors at the edge likewise."""
    found, output = available(network(False), LABELS, {}, True), labelled(3)[0]
    output = replace(output, residual=output.logits.flip(1) / 3)
    plain = found["rpl"](output).double().numpy()
    for name, radius in (("rpl:smooth=7", 3), ("rpl:smooth=3", 1), ("rpl:smooth=0", 0)):
        expected = [gaussian_filter(score, 1.0, mode="mirror", radius=radius) for score in plain]
        np.testing.assert_allclose(found[name](output).numpy(), expected, atol=1e-5)
    assert np.abs(plain - found["rpl:smooth=7"](output).numpy()).max() > 0.01
    with pytest.raises(OwsegError, match="a Gaussian has an odd size and a positive sigma, not 4"):
        found["rpl:smooth=4"](output)
    with pytest.raises(OwsegError, match="is too small for a Gaussian of 99 pixels"):
        found["rpl:smooth=99"](output)


@pytest.mark.parametrize(("name", "message"), [
    ("mixture:beta", "'beta' sets nothing; write an option of a score as mixture:NAME=VALUE"),
    ("mixture:delta=3", "the score mixture has no option 'delta'; it has beta, gamma"),
    ("mixture:beta=x", "the score mixture: beta is a number, not 'x'"),
    ("msp:beta=3", "the score msp has no options; those that have are"),
    ("knn:k=3", "the score knn has no options"),
])  # fmt: skip
def test_options_that_there_are_not(name, message):
    with pytest.raises(OwsegError, match=message):
        available(network(), LABELS, {"knn": fit("knn")}, False)[name]


def test_a_name_with_options_is_calibrated_and_stored(tmp_path):
    made = calibrate(tiny.knowledge_base(), tiny.dataset(), 0.1, scorer="mixture:beta=7")
    made.save(tmp_path / "kb")
    loaded, output = load(tmp_path / "kb"), made.forward(tiny.image())
    assert loaded.scorer == "mixture:beta=7" and loaded.threshold == made.threshold
    found = loaded.assess(output, (48, 64)).scores["mixture:beta=7"]
    plain = loaded.assess(output, (48, 64), ("mixture",)).scores["mixture"]
    assert (found == made.assess(output, (48, 64)).scores["mixture:beta=7"]).all() and (found != plain).any()
