"""The learners by the names they have on the command line."""

import pytest

from owseg.errors import OwsegError
from owseg.learners.auto import METHODS, learner_named
from owseg.learners.npm import NPM
from owseg.learners.plm import PLM


def test_a_name_and_its_options_give_a_learner():
    assert learner_named() is None
    assert all(type(learner_named(name)) is kind for name, kind in METHODS.items())
    assert learner_named(radius=2.5) == learner_named("npm", 2.5) == NPM(2.5)
    assert learner_named("plm", heads="latest") == PLM("latest")


@pytest.mark.parametrize(
    "given, message",
    [
        ({"method": "magic"}, "no method 'magic'; it is one of probe, npm"),
        ({"method": "probe", "radius": 1.0}, "--radius is npm's"),
        ({"heads": "latest"}, "--heads is plm's"),
        ({"radius": 1.0, "heads": "latest"}, "--heads is plm's"),
    ],
)
def test_what_does_not_go_together_is_refused(given, message):
    with pytest.raises(OwsegError, match=message):
        learner_named(**given)
