"""Each family says how it is named, what its input becomes, its licence and its sizes; docs/backbones.md shows them."""

import re

import pytest

from owseg.models.backbones import FAMILIES
from owseg.models.backbones.family import IMAGENET
from tests.support.pages import ROOT

PAGE = (ROOT / "docs" / "backbones.md").read_text()

# "auto" is any of the rest, and these encoders are loaded with the networks that they are of.
WITH_A_NETWORK = {"espnetv2", "dabnet", "fddwnet", "eomt"}
NAMED = sorted(set(FAMILIES) - WITH_A_NETWORK - {"auto"})

PREPROCESSING = {
    "mean and deviation of ImageNet": IMAGENET,
    "2 x - 1": ((0.5,) * 3, (0.5,) * 3),
    "(255 x - 127) / 128": ((127 / 255,) * 3, (128 / 255,) * 3),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_card_has_what_a_user_needs_to_know(name):
    facts = FAMILIES.entries[name].facts
    assert set(facts) - {"prefix"} == {"example", "preprocessing", "licence", "sizes"}
    family = FAMILIES[name].make()
    assert PREPROCESSING[facts["preprocessing"]] == (family.mean, family.std)
    assert all(isinstance(size, int) and 100 < size < 2000 for size in facts["sizes"])
    assert list(facts["sizes"]) == sorted(facts["sizes"])


@pytest.mark.parametrize("name", NAMED)
def test_the_page_has_a_row_of_the_card(name):
    facts = FAMILIES.entries[name].facts
    (row,) = re.findall(rf"^\| [^|]*`{name}`.*$", PAGE, re.M)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert f"`{facts['example']}`" in cells
    assert facts["licence"] in cells
    assert facts["preprocessing"] in cells
    assert ", ".join(map(str, facts["sizes"])) in cells
