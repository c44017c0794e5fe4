"""A real run of ``owseg fit-baseline``, measured by a recipe; test_wiring.py has its options."""

import json

from owseg.benchmark.recipe import read_recipe
from owseg.benchmark.run import run
from tests.support import tiny


def test_what_is_trained_is_named_in_a_recipe(run_cli, fails, own_data, tmp_path):
    kb, out = tmp_path / "kb", tmp_path / "rbm.safetensors"
    tiny.calibrated().save(kb)
    command = ("fit-baseline", "rbm", kb, "--data", f"folder:{own_data}", "-o", out, "--set", "batch=4", "--set",
               "epochs=1", "--set", "side=0")  # fmt: skip
    code, text, err = run_cli(*command)
    assert code == 0 and f'options.rbm.weights = "{out}"' in text, err
    assert f"{out} is there already; give --overwrite" in fails(*command)
    command = (*command, "--overwrite")
    code, text, _ = run_cli(*command, "--json")
    assert code == 0 and json.loads(text)["file"] == str(out)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'[models.m]\nkb = "{kb}"\nscorers = ["rbm"]\noptions.rbm.weights = "{out}"\n'
        f'[data.own]\nspec = "folder:{own_data}"\nmost = 2\n'
    )
    (row,) = run(read_recipe(recipe), tmp_path / "run").rows
    assert row.scorer == "rbm" and 0 <= row.metrics["auroc"] <= 1
    assert "no class 'street'" in fails(*command, "--set", "of=street")
    assert "no option 'depth'" in fails(*command, "--set", "depth=3")
