"""What every registry of plug-ins promises, whatever its kind."""

from dataclasses import fields

from owseg._registry import Card


def assert_cards_are_what_their_text_says(registry):
    """The cards read from the text of their files, without an import, are the cards that the import gives."""
    assert len(registry) > 0
    for name, entry in registry.entries.items():
        card = registry[name]
        for field in (f.name for f in fields(Card) if f.name != "make"):
            assert getattr(card, field) == getattr(entry, field), (name, field)
        assert callable(card.make) and card.help, name
