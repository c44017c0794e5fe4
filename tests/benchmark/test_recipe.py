from pathlib import Path

import pytest

from owseg.benchmark.recipe import read_recipe
from owseg.errors import OwsegError

HEAD = '[models.m]\nkb = "synthetic"\n[data.d]\nspec = "synthetic"\n'
IMAGE = '[models.n]\nkb = "synthetic"\nscorers = ['
FIT = '[models.n]\nkb = "synthetic"\nfit = ["knn"]\nfit_on = "synthetic"\n'
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
    HEAD + IMAGE + '"ensemble"]\n': "models.n.options.ensemble.members is missing; give the other knowledge bases",
    HEAD
    + IMAGE
    + '"autoencoder"]\noptions.autoencoder = {}\n': "models.n.options.autoencoder.weights is missing; give",
    'scorers = ["autoencoder"]\n' + HEAD: "models.m.options.autoencoder.weights is missing",
    HEAD + IMAGE + '"mc_dropout"]\noptions.mc_dropout.pass = 3\n': "models.n.options.mc_dropout has no option 'pass'",
    HEAD
    + IMAGE
    + '"mc_dropout"]\noptions.mc_dropout.passes = 2.5\n': "mc_dropout: passes is a whole number, not '2.5'",
    HEAD + IMAGE + '"mc_dropout"]\noptions.mc_dropout.rate = {}\n': "options.mc_dropout.rate is a text, a number,",
    HEAD + IMAGE + '"mc_dropout"]\noptions.mc_dropout = 3\n': "options.mc_dropout is a table of options, not 3",
    HEAD + IMAGE + '"mc_dropout"]\noptions.msp.x = 3\n': "no key models.n.options.msp; .* have options: mc_dropout",
    HEAD + IMAGE + '"mc_dropout"]\noptions = 3\n': "models.n.options is a table, not 3",
    HEAD
    + IMAGE
    + '"autoencoder"]\noptions.autoencoder.weights = "$NOT_SET_HERE"\n': "options.autoencoder.weights: the variable",
    HEAD + FIT + "options.knn.kk = 3\n": "models.n.options.knn has no option 'kk'; it has",
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


def test_options_are_read_as_the_types_of_their_defaults(tmp_path, monkeypatch):
    path = tmp_path / "recipe.toml"
    path.write_text(
        HEAD + FIT + 'scorers = ["all", "mc_dropout", "ensemble"]\noptions.knn.k = 1\n'
        "options.mc_dropout = { passes = 3, rate = 0.25 }\n"
        'options.ensemble = { members = ["${MY_PLACE}/a", "b"] }\n'
        '[models.o]\nkb = "synthetic"\nscorers = ["autoencoder"]\n'
        'options.autoencoder.weights = "$NOT_SET_HERE"\noptional = true\n'
    )  # fmt: skip
    monkeypatch.setenv("MY_PLACE", "here")
    found = read_recipe(path)
    assert [m.options for m in found.models] == [
        {},
        {
            "knn": {"k": 1},
            "mc_dropout": {"passes": 3, "rate": 0.25},
            "ensemble": {"members": ("here/a", "b")},
        },
    ]
    assert found.left_out == ("models.o.options.autoencoder: $NOT_SET_HERE is not set",)


def test_the_committed_recipes_are_well_formed(monkeypatch):
    monkeypatch.setenv("OWSEG_DATA", "somewhere")
    for path in (Path(__file__).parents[2] / "recipes").glob("benchmark*.toml"):
        recipe = read_recipe(path)
        assert recipe.models or recipe.sequences
