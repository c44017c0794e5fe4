import json
from pathlib import Path

from owseg.data.synthetic.scene import SPLITS

RECIPES = Path(__file__).parents[2] / "recipes"


def test_the_small_recipe_runs_and_goes_on(run_cli, fails, tmp_path, half_size_here, monkeypatch):
    small = RECIPES / "benchmark-synthetic.toml"
    monkeypatch.setitem(SPLITS, "shots", (SPLITS["shots"][0], 40))  # those of its two classes
    code, out, err = run_cli("benchmark", small, "--out", tmp_path)
    assert code == 0 and "synthetic on scenes (1 of 1)" in err
    assert "joint" in out and f"{tmp_path}/results.md" in out.replace("\n", "")
    code, out, _ = run_cli("benchmark", small, "--out", tmp_path, "--json")
    assert code == 0 and json.loads(out) == json.loads((tmp_path / "results.json").read_text())
    assert "none.toml" in fails("benchmark", tmp_path / "none.toml", "--out", tmp_path)


def test_what_is_left_out_is_noted(run_cli, stored_kb, own_data, tmp_path, monkeypatch):
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        f'models.mine.kb = "{stored_kb}"\ndata.own.spec = "folder:{own_data}"\n'
        'data.b.spec = "camvid:$OWSEG_NONE/b"\ndata.b.optional = true\n'
    )
    monkeypatch.delenv("OWSEG_NONE", raising=False)
    (own_data / "images" / "f2.png").write_bytes(b"no image")
    code, out, err = run_cli("benchmark", recipe, "-o", tmp_path / "out", "--json")
    assert code == 3 and "left out: " in err and "OWSEG_NONE" in err
    assert err.count("skipped: ") == 1 and "f2.png" in json.loads(out)["data"]["own"]["skipped"]["f2"]
    assert "7 images, 1 skipped." in (tmp_path / "out" / "results.md").read_text()
