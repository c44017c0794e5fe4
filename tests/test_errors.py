import pytest

from owseg.errors import shown


@pytest.mark.parametrize(("text", "expected"), [
    ("plain, Straße 道路 🐄", "plain, Straße 道路 🐄"), ("\x1b[31mred", r"\x1b[31mred"), ("a\nb\tc", r"a\nb\tc"),
    ("a\u202eb", r"a\u202eb"), ("bad\udcff", r"bad\udcff"), (3, "3"), ("back\\slash", "back\\slash"),
])  # fmt: skip
def test_what_is_not_printable_is_escaped(text, expected):
    assert shown(text) == expected and shown(text).isprintable()
