"""The kinds of increment, by the names under which stored knowledge bases have them."""

from owseg.increments import INCREMENTS
from tests.support.registries import assert_cards_are_what_their_text_says


def test_the_kinds():
    assert set(INCREMENTS) == {"novel_prototype", "head", "probe"}  # names on disk: they may not change
    assert_cards_are_what_their_text_says(INCREMENTS)
