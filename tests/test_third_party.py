"""Plug-ins of other packages, by entry points: what is read of them, and what is said of those that do not work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from owseg._registry import Card, Registry
from owseg.errors import OwsegError

CARD = 'from owseg import Card\n\nCARD = Card("odd", "help of odd", make=lambda network: 7, facts={"needs": "fit"})\n'


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Install a package: ``site(text, points)`` gives the registry that sees it, its module being ``text``."""

    def install(text: str, points: str = "odd = other_package.odd:CARD") -> Registry[object]:
        info = tmp_path / "other_package-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
        taken = "[owseg.scorers]\nmsp = other_package.odd:CARD"
        (info / "entry_points.txt").write_text(f"[owseg.serve]\n{points}\n{taken}\n")
        (tmp_path / "other_package").mkdir()
        (tmp_path / "other_package" / "__init__.py").write_text("")
        Path(tmp_path, "other_package", "odd.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        return Registry("scorer", "owseg.serve")

    yield install
    for name in [name for name in sys.modules if name.startswith("other_package")]:
        del sys.modules[name]


def test_its_card_is_read_without_an_import_and_made_with_one(site):
    registry = site(CARD)
    entry = registry.entries["odd"]
    assert (entry.help, entry.facts, entry.module) == ("help of odd", {"needs": "fit"}, "other_package.odd")
    assert not [name for name in sys.modules if name.startswith("other_package")]
    card = registry["odd"]
    assert isinstance(card, Card) and card.make(None) == 7
    assert "odd" in registry and list(registry) == ["odd"] and len(registry) == 1


@pytest.mark.parametrize(
    "text",
    [
        CARD.replace('"help of odd"', '"help of " + "odd"'),
        "from owseg import Card\nCARD = dict(a=Card('odd', 'x', make=int))['a']",
        "from other_package.base import CARD",
        "def broken(:",
    ],
)
def test_where_the_card_is_no_literal_its_origin_is_known(site, text):
    entry = site(text).entries["odd"]
    assert (entry.help, entry.facts, entry.point.name) == ("from other-package", {}, "odd")


def test_an_annotated_card_is_read_too(site):
    assert site(CARD.replace("CARD =", "CARD: Card[int] =")).entries["odd"].help == "help of odd"


def test_a_name_that_comes_with_owseg_stays(site):
    site(CARD)
    registry: Registry[object] = Registry("scorer", "owseg.scorers")
    assert registry.entries["msp"].point is None and registry.entries["msp"].module == "owseg.scorers.msp"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_module", "cannot be loaded (No module named 'no_such_module')."),
        ("CARDS = ()", "cannot be loaded (module 'other_package.odd' has no attribute 'CARD')."),
        ("CARD = 7", "has no card of that name."),
        (CARD.replace('"odd"', '"even"'), "has no card of that name."),
    ],
)
def test_what_does_not_load_ends_in_a_sentence(site, text, message):
    registry = site(text)
    with pytest.raises(OwsegError) as error:
        registry["odd"]
    assert str(error.value) == f"the scorer 'odd' of other-package {message}"


def test_a_module_at_the_top_and_one_that_is_not_there(site):
    registry = site(CARD, "top = json:CARD\ngone = no_such_package.x:CARD\nnowhere = other_package.x:CARD")
    assert [registry.entries[name].help for name in ("top", "gone", "nowhere")] == ["from other-package"] * 3
