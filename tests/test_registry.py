"""Plug-ins by name: what is read without an import, what one import gives, options as text.

Plug-ins of other packages are in test_third_party.py, the cards of each kind in the tests of its folder.
"""

import subprocess
import sys
from importlib import import_module

import pytest

from owseg._registry import Card, Registry, with_options
from owseg.errors import OwsegError

REGISTRIES = {
    "owseg.scorers": "SCORERS",
    "owseg.image_scorers": "IMAGE_SCORERS",
    "owseg.models.backbones": "FAMILIES",
    "owseg.models.decoders": "DECODERS",
    "owseg.models.published": "NETWORKS",
    "owseg.increments": "INCREMENTS",
    "owseg.learners": "LEARNERS",
    "owseg.data.datasets": "DATASETS",
    "owseg.exchange": "FORMATS",
    "owseg.training": "BASELINES",
    "owseg.inference.submissions": "SUBMISSIONS",
}
MODULE = '''"""A plug-in."""

from owseg._registry import Card

CARDS = (
    Card("plain", "help of plain", make=lambda: 1),
    Card("full", "help " "of full", lambda: 2, "a paper", options={"k": "a number"}, facts={"needs": ("a", None)}),
)
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """``folder(name=text, ...)`` gives the registry of a package of these modules."""
    packages = []

    def write(**modules):
        name = f"made_plugins_{len(packages)}_{tmp_path.name.replace('-', '_')}"
        packages.append(name)
        (tmp_path / name).mkdir()
        for module, text in {"__init__": "", **modules}.items():
            (tmp_path / name / f"{module}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        return Registry("thing", name)

    yield write
    for module in [m for m in sys.modules if m.partition(".")[0] in packages]:
        del sys.modules[module]


def imported(registry):
    return {m.rpartition(".")[2] for m in sys.modules if m.startswith(f"{registry.package}.")}


def test_cards_are_read_without_an_import_and_one_name_imports_one_module(folder):
    registry = folder(one=MODULE, two=MODULE.replace('"plain"', '"other"').replace('"full"', '"more"'), none="x = 1\n")
    assert list(registry) == ["plain", "full", "other", "more"] and len(registry) == 4
    entry = registry.entries["full"]
    assert (entry.name, entry.help, entry.source) == ("full", "help of full", "a paper")
    assert (entry.options, entry.facts) == ({"k": "a number"}, {"needs": ("a", None)})
    assert entry.module == f"{registry.package}.one" and entry.point is None
    assert (registry.entries["plain"].source, registry.entries["plain"].options) == ("", {})
    assert not imported(registry)
    assert registry["more"].make() == 2 and imported(registry) == {"two"}
    assert registry["plain"].make() == 1 and imported(registry) == {"one", "two"}


def test_a_registry_is_a_mapping_of_cards(folder):
    registry = folder(one=MODULE)
    assert "plain" in registry and "none" not in registry and 7 not in registry
    assert registry.get("none") is None and registry.get("none", 5) == 5 and registry.get("plain").name == "plain"
    assert {name: card.make() for name, card in registry.items()} == {"plain": 1, "full": 2}
    assert len({registry["plain"], registry["full"], registry["plain"]}) == 2


def test_modules_with_an_underscore_hold_no_plug_in(folder):
    assert list(folder(_one=MODULE, two="")) == []


def test_an_annotated_tuple_of_cards_is_read(folder):
    assert list(folder(one=MODULE.replace("CARDS =", "CARDS: tuple[Card[int], ...] ="))) == ["plain", "full"]


def test_a_name_is_taken_once(folder):
    registry = folder(one=MODULE, two=MODULE)
    with pytest.raises(OwsegError, match=r"two.py names the thing 'plain', which .*\.one has"):
        _ = registry.entries


@pytest.mark.parametrize("package", REGISTRIES)
def test_an_unknown_name_ends_in_the_names_that_there_are(package):
    registry = getattr(import_module(package), REGISTRIES[package])
    message = f"there is no {registry.kind} 'nothing'; it is one of {', '.join(registry)}."
    for ask in (registry.__getitem__, registry.require):
        with pytest.raises(OwsegError) as error:
            ask("nothing")
        assert str(error.value) == message


@pytest.mark.parametrize("package", REGISTRIES)
def test_help_is_known_without_torch_or_any_plug_in(package):
    script = (
        f"import sys, importlib\nregistry = importlib.import_module({package!r}).{REGISTRIES[package]}\n"
        "assert all(e.help for e in registry.entries.values())\n"
        "assert not {'torch', 'transformers', 'scipy', 'sklearn'} & set(sys.modules), set(sys.modules)\n"
        "assert not [e.module for e in registry.entries.values() if e.module in sys.modules]\n"
        "print(len(registry))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(getattr(import_module(package), REGISTRIES[package]))


# --- options ---


def make(network, k=3, rate=None, scale=2.0, flip=False, name="a", sizes=(1, 2), weights=(0.5, 0.5), words=("",),
         parts: tuple[float, ...] = (), counts: tuple[int, ...] = ()):  # fmt: skip
    return network, k, rate, scale, flip, name, sizes, weights, words, parts, counts


OPTIONS = dict.fromkeys(("k", "rate", "scale", "flip", "name", "sizes", "weights", "words", "parts", "counts"), "help")
CARD = Card("thing", "help of thing", make, options={n: h for n, h in OPTIONS.items() if n != "scale"})


@pytest.mark.parametrize(
    "option,text,value",
    [
        ("k", "7", 7),
        ("rate", "0.25", 0.25),
        ("flip", "true", True),
        ("flip", "False", False),
        ("name", "7", "7"),
        ("sizes", "4,5,6", (4, 5, 6)),
        ("weights", "1,.5", (1.0, 0.5)),
        ("words", "a,b c", ("a", "b c")),
        ("parts", ".5,2", (0.5, 2.0)),
        ("parts", "none", ()),
        ("counts", "5,2", (5, 2)),
    ],
)
def test_an_option_is_read_as_the_type_of_its_default(option, text, value):
    default = dict(zip(("network", *OPTIONS), make("net"), strict=True))
    found = dict(zip(default, with_options(CARD, {option: text}, "net"), strict=True))
    assert found == {**default, option: value} and type(found[option]) is type(value)


def test_without_options_the_defaults_hold():
    assert with_options(CARD, {}, "net") == make("net")


@pytest.mark.parametrize(
    "option,text,kind",
    [
        ("k", "2.5", "a whole number"),
        ("rate", "much", "a number"),
        ("flip", "maybe", "true or false"),
        ("sizes", "1,x", "numbers with commas"),
        ("counts", "1,.5", "numbers with commas"),
    ],
)
def test_a_value_of_another_type_is_named(option, text, kind):
    with pytest.raises(OwsegError) as error:
        with_options(CARD, {option: text}, "net")
    assert str(error.value) == f"thing: {option} is {kind}, not {text!r}."


def test_an_option_that_the_card_does_not_name_is_refused():
    with pytest.raises(
        OwsegError,
        match="thing has no option 'scale'; it has k, rate, flip, name, sizes, weights, words, parts, counts",
    ):
        with_options(CARD, {"scale": "1"}, "net")
    with pytest.raises(OwsegError, match="thing has no option 'x'; it takes none"):
        with_options(Card("thing", "help", make), {"x": "1"}, "net")
