"""The learners by the names they have on the command line."""

from dataclasses import asdict

import pytest

from owseg.errors import OwsegError
from owseg.learners import LEARNERS
from owseg.learners.auto import learner_for, learner_named
from owseg.learners.finetune import FineTune
from owseg.learners.npm import NPM
from owseg.learners.plm import PLM
from owseg.learners.probe import Probe
from tests.support import tiny
from tests.support.registries import assert_cards_are_what_their_text_says

TRAINING = {"steps": "7", "lr": "0.1", "variance_weight": "0.2", "balance": "0.3", "seed": "4"}
METHODS = {"probe": Probe, "npm": NPM, "plm": PLM, "finetune": FineTune}


def test_the_methods():
    assert {name: LEARNERS[name].make for name in LEARNERS} == METHODS
    assert_cards_are_what_their_text_says(LEARNERS)


@pytest.mark.parametrize("name", METHODS)
def test_a_name_gives_a_learner_of_that_name_with_its_defaults(name):
    learner = learner_named(name)
    assert learner == METHODS[name]() and learner.method == name and hash(learner) == hash(METHODS[name]())
    assert set(LEARNERS.entries[name].options) <= set(asdict(learner))


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("npm", {"radius": "2.5", "weighting": "images", "space": "pyramid"}, NPM(2.5, "images", "pyramid")),
        ("plm", {"heads": "latest", **TRAINING}, PLM("latest", 7, 0.1, 0.2, 0.3, 4)),
        ("finetune", TRAINING, FineTune(7, 0.1, 0.2, 0.3, 4)),
        (
            "probe",
            {"strength": "5", "balance": "0.5", "scales": "1,2", "favour": "2", "level": "0", "views": "7"},
            Probe(5.0, 0.5, (1.0, 2.0), 2.0, 0, 7),
        ),
    ],
)
def test_every_option_can_be_given_as_text(name, options, expected):
    assert learner_named(name, options) == expected
    assert set(options) == set(LEARNERS.entries[name].options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("magic", {}, "no method 'magic'; it is one of finetune, npm, plm, probe"),
        ("probe", {"radius": "1"}, "probe has no option 'radius'; it has strength, balance, scales"),
        ("npm", {"radius": "wide"}, "npm: radius is a number, not 'wide'"),
    ],
)
def test_what_does_not_go_together_is_refused(name, options, message):
    with pytest.raises(OwsegError, match=message):
        learner_named(name, options)


def test_the_default_is_the_probe_where_features_are_fitted(kb):
    assert learner_for(kb) == Probe()
    assert learner_for(tiny.knowledge_base()) == NPM()
