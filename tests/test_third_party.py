"""Plug-ins of other packages, by entry points: what is read of them, and what is said of those that do not work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from owseg._registry import Card, Registry
from owseg.errors import OwsegError
from owseg.exchange.formats import read, recognise
from owseg.knowledge.calibration import calibrate
from tests.support import tiny

CARD = 'from owseg import Card\n\nCARD = Card("odd", "help of odd", make=lambda network: 7, facts={"needs": "fit"})\n'


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Install a package whose module is ``text``: ``site(text, points, kind, group)`` gives a registry that sees it."""

    def install(
        text: str, points: str = "odd = other_package.odd:CARD", kind: str = "scorer", group: str = "owseg.serve"
    ) -> Registry[object]:
        info = tmp_path / "other_package-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
        taken = "[owseg.scorers]\nmsp = other_package.odd:CARD"
        (info / "entry_points.txt").write_text(f"[{group}]\n{points}\n{taken}\n")
        (tmp_path / "other_package").mkdir()
        (tmp_path / "other_package" / "__init__.py").write_text("")
        Path(tmp_path, "other_package", "odd.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        return Registry(kind, group)

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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise ValueError('first line\\nsecond line')", "cannot be loaded (first line)."),
        ("raise KeyError", "cannot be loaded (KeyError)."),
        (CARD.replace("lambda network: 7", "lambda: 7").replace(', facts={"needs": "fit"}', ""), "cannot be made"),
        (CARD.replace('{"needs": "fit"}', "7"), "cannot be made"),
    ],
)
def test_a_broken_scorer_harms_only_who_names_it(site, monkeypatch, text, message):
    text = text.replace("lambda network: 7", "lambda network: 1 / 0")
    monkeypatch.setattr("owseg.scorers.SCORERS", site(text, group="owseg.scorers"))
    data = tiny.dataset(2)
    kb = calibrate(tiny.knowledge_base(), data, scorer="msp")
    kb.predict(data[0].image)
    assert "odd" in kb.scorers and "odd" in list(kb.scorers) and len(kb.scorers) == len(list(kb.scorers))
    assert not [name for name in sys.modules if name.startswith("other_package")]
    with pytest.raises(OwsegError) as error:
        calibrate(kb, data, scorer="odd")
    assert str(error.value).startswith(f"the scorer 'odd' of other-package {message}") and "\n" not in str(error.value)


def test_a_broken_format_harms_only_who_names_it(site, monkeypatch, tmp_path):
    formats = site("import no_such_module", "zz = other_package.odd:CARD", "format", "owseg.exchange")
    monkeypatch.setattr("owseg.exchange.formats.FORMATS", formats)
    made = Path(__file__).parent / "exchange" / "made" / "coco.json"
    assert recognise(made) == "coco" and recognise(Path(__file__)) is None and list(read(made))
    with pytest.raises(OwsegError, match="the format 'zz' of other-package cannot be loaded"):
        list(read(made, "zz"))


def test_what_names_no_place_is_listed_all_the_same(site):
    registry = site(CARD, "bad = !!!")
    assert registry.entries["bad"].help == "from other-package"
    with pytest.raises(OwsegError, match="the scorer 'bad' of other-package cannot be loaded"):
        registry["bad"]
