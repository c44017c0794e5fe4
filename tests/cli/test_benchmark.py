import json


def test_a_small_recipe(run_cli, fails, stored_kb, own_data, tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'models.mine.kb = "{stored_kb}"\ndata.own.spec = "folder:{own_data}"\n')
    code, out, err = run_cli("benchmark", recipe, "--out", tmp_path / "out")
    assert code == 0 and str(tmp_path / "out" / "results.md") in out.replace("/results.md, .tex", "/results.md"), err
    code, again, _ = run_cli("benchmark", recipe, "-o", tmp_path / "out", "--json")
    assert code == 0 and isinstance(json.loads(again), dict)
    assert "none.toml" in fails("benchmark", tmp_path / "none.toml", "--out", tmp_path)
