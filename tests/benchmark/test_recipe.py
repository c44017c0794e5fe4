from pathlib import Path

import pytest

from owseg.benchmark.recipe import read_recipe
from owseg.errors import OwsegError

HEAD = '[models.m]\nkb = "synthetic"\n[data.d]\nspec = "synthetic"\n'
BAD = {
    "seeed = 1\n" + HEAD: "no key seeed; a recipe has seed,",
    "seed = -1\n" + HEAD: "seed is 0 or more",
    'seed = "x"\n' + HEAD: "seed is a whole number, not 'x'",
    "fpr = 1\n" + HEAD: "fpr lies between 0 and 1",
    "[models.m": "not TOML",
    '[data.d]\nspec = "synthetic"\n': "models is missing; add a table .models.NAME.",
    '[models.m]\nkb = "synthetic"\n': "data is missing",
    HEAD + "[models.n]\n": "models.n.kb is missing",
    HEAD + '[models."../n"]\nkb = "synthetic"\n': "is not a name",
    HEAD + "[models]\nn = 3\n": "models.n is a table of kb, fit,",
    HEAD + '[models.n]\nkb = "synthetic"\nscorer = "msp"\n': "no key models.n.scorer; models.n has kb, fit,",
    HEAD + '[models.n]\nkb = "synthetic"\nscorers = "msp"\n': "models.n.scorers is a list, not 'msp'",
    HEAD + '[models.n]\nkb = "synthetic"\nscorers = []\n': "models.n.scorers is a list of different names",
    HEAD + '[models.n]\nkb = "synthetic"\nfit = ["knn"]\n': "models.n.fit and models.n.fit_on go together",
    HEAD + '[models.n]\nkb = "synthetic"\nfit = ["x"]\nfit_on = "synthetic"\n': "models.n.fit: there is no 'x'",
    HEAD + '[models.n]\nkb = "synthetic"\ndata = ["x"]\n': "models.n.data names 'x', which is none of the data: d",
    HEAD + '[models.n]\nkb = "$NOT_SET_HERE/kb"\n': r"models.n.kb: the variable \$NOT_SET_HERE is not set",
    HEAD + '[data.e]\nspec = "synthetic"\nresize = "512"\n': "data.e.resize is height x width",
    HEAD + '[data.e]\nspec = "synthetic"\nmost = 0\n': "data.e.most is at least 1",
    HEAD + '[data.e]\nspec = "synthetic"\ntrack = "moon"\n': "data.e.track is anomaly or obstacle",
    HEAD + '[[published]]\ndata = "d"\nmodel = "m"\nscorer = "msp"\nap = 0.5\n': r"published.0..source is missing",
    HEAD + '[[published]]\ndata = "x"\nmodel = "m"\nscorer = "msp"\nsource = "s"\nap = 0.5\n': "none of the data: d",
    HEAD + '[[published]]\ndata = "d"\nmodel = "m"\nscorer = "msp"\nsource = "s"\nap = 50\n': "write 0.5 for 50 %",
    HEAD + '[[published]]\ndata = "d"\nmodel = "m"\nscorer = "msp"\nsource = "s"\n': "gives no metric",
}


@pytest.mark.parametrize(("text", "words"), BAD.items(), ids=BAD.values())
def test_a_malformed_recipe_ends_in_a_sentence(tmp_path, text, words):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(OwsegError, match=words) as told:
        read_recipe(path)
    assert str(told.value).startswith(str(path)) and "\n" not in str(told.value)


def test_variables_are_expanded_and_optional_models_left_out(tmp_path, monkeypatch):
    path = tmp_path / "recipe.toml"
    path.write_text(HEAD.replace("synthetic", "${MY_PLACE}/x") + '[models.n]\nkb = "$NOT_SET_HERE"\noptional = true\n')
    monkeypatch.setenv("MY_PLACE", "here")
    found = read_recipe(path)
    assert [m.kb for m in found.models] == ["here/x"] and found.data[0].spec == "here/x"
    assert found.left_out == ("models.n: $NOT_SET_HERE is not set",)


def test_the_committed_recipes_are_well_formed(monkeypatch):
    monkeypatch.setenv("OWSEG_DATA", "somewhere")
    for path in (Path(__file__).parents[2] / "recipes").glob("benchmark*.toml"):
        assert read_recipe(path).models
