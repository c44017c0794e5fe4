import json


def test_tables_for_people_and_numbers_for_programs(run_cli, stored_kb, own_data):
    code, out, _ = run_cli("evaluate", stored_kb, "--data", own_data)
    assert code == 0 and "AUROC" in out and "joint" in out and "rock" not in out.split("score")[0].split("road")[0]
    pooled = json.loads(run_cli("evaluate", stored_kb, "--data", own_data, "--scorers", "joint,msp", "--json")[1])
    assert set(pooled["iou"]) == {"road", "sky", "tree"} and set(pooled["scores"]) == {"joint", "msp"}
    per_image = json.loads(run_cli("evaluate", stored_kb, "--data", own_data, "--per-image", "--json")[1])
    assert per_image["scores"]["joint"]["auroc"] != pooled["scores"]["joint"]["auroc"]
    finer = json.loads(run_cli("evaluate", stored_kb, "--data", own_data, "--full-resolution", "--json")[1])
    assert finer["scores"] != {"joint": pooled["scores"]["joint"]}


def test_mistakes_end_in_one_sentence(fails, stored_kb, own_data, tmp_path):
    assert "names no data set" in fails("evaluate", stored_kb, "--data", "kitti:/x")
    data = ("--data", f"folder:{own_data}")
    for option in (("--per-image",), ("--scorers", "msp"), ("--full-resolution",), ("--multi-scale",)):
        assert "--sequence" in fails("evaluate", stored_kb, *data, "--sequence", *option)
    assert "add --sequence" in fails("evaluate", stored_kb, *data, "--report", tmp_path / "page.html")
    assert "not learned a class" in fails("evaluate", stored_kb, *data, "--sequence")
    assert "no scorer 'magic'" in fails("evaluate", stored_kb, *data, "--scorers", "magic")
