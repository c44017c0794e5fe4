"""docs/licences.md: every package that people install with owseg is on it, with a licence that allows that."""

import re
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import licences

ROWS = dict(re.findall(r"^\| (?!package )([\w.-]+) \| (.+) \|$", licences.PAGE.read_text(), re.M))
ASKED = [Requirement(text) for text in requires("owseg")]


@pytest.mark.parametrize("extra", licences.EXTRAS)
def test_every_package_that_is_asked_for_is_on_the_page(extra):
    asked = {canonicalize_name(r.name) for r in ASKED if r.marker is None or r.marker.evaluate({"extra": extra})}
    assert asked - {"tomli"} <= ROWS.keys()


def test_the_extras_are_those_of_people():
    named = {name for r in ASKED if r.marker for name in re.findall(r"extra == ['\"](\w+)", str(r.marker))}
    assert {*licences.EXTRAS} - {""} == named - {"dev", "docs"}


def test_none_is_unknown_and_none_asks_that_owseg_has_its_licence():
    assert len(ROWS) > 60
    for name, licence in ROWS.items():
        if name == "docutils":  # see KNOWN
            continue
        assert not re.search(r"\bA?GPL|says nothing|not installed|UNKNOWN", licence), (name, licence)
        assert re.search(r"MIT|BSD|Apache|PSF|Python Software|MPL|ISC|Unlicense|Zlib|HPND|CC0|3-Clause", licence), name


def test_a_package_is_found_through_an_extra_of_another():
    assert "torch" in licences.needed() and "onnxruntime" not in licences.needed()
    assert {"onnxruntime", "torch"} <= licences.needed("export").keys()
