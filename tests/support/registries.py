"""What every registry of plug-ins promises, whatever its kind."""

import inspect
from dataclasses import fields

from owseg._registry import Card


def assert_cards_are_what_their_text_says(registry):
    """The cards read from the text of their files, without an import, are the cards that the import gives.

    Each says in a few words what it is, and each of its options is an argument of ``make`` with a default, whose type
    is the type of what a user gives as text.
    """
    assert len(registry) > 0
    for name, entry in registry.entries.items():
        card = registry[name]
        for field in (f.name for f in fields(Card) if f.name != "make"):
            assert getattr(card, field) == getattr(entry, field), (name, field)
        assert callable(card.make) and card.help and not card.help.endswith("."), name
        assert hash(card) == hash(registry[name]) and hash(entry) and card == registry[name]
        parameters = inspect.signature(card.make).parameters
        for option, text in card.options.items():
            assert text, (name, option)
            assert parameters[option].default is not inspect.Parameter.empty, (name, option)
