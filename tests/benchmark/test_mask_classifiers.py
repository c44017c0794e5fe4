"""A mask classifier in a recipe, by name, with its own scores."""

import math

import pytest

from owseg.benchmark.recipe import read_recipe
from owseg.benchmark.run import run
from tests.support.mask_models import mask2former

RECIPE = """
[models.m2f]
kb = "hf:{place}/m"
fit = ["joint", "mahalanobis"]
fit_on = "folder:{place}/own"
calibrate_on = "folder:{place}/own"
scorers = ["rba", "eam", "mask_msp", "joint", "mahalanobis", "mirrored"]
options.mirrored = {{ score = "mask_msp" }}

[data.own]
spec = "folder:{place}/own"
most = 2
"""


@pytest.mark.usefixtures("no_plots")
def test_a_recipe_names_a_mask_classifier_and_its_scores(place, tmp_path):
    mask2former(id2label={0: "road", 1: "sky"}).save_pretrained(place / "m")
    (tmp_path / "recipe.toml").write_text(RECIPE.format(place=place))
    results = run(read_recipe(tmp_path / "recipe.toml"), tmp_path / "out")
    found = {row.scorer: row.metrics for row in results.rows}
    assert set(found) == {"rba", "eam", "mask_msp", "joint", "mahalanobis", "mirrored"}
    assert all(0 < metrics["ap"] < 1 and math.isfinite(metrics["miou"]) for metrics in found.values())
    assert found["mirrored"]["ap"] != found["mask_msp"]["ap"]
