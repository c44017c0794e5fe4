import json
import shutil


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
    assert "no kind of data set 'kitti'" in fails("evaluate", stored_kb, "--data", "kitti:/x")
    data = ("--data", f"folder:{own_data}")
    for option in (("--per-image",), ("--scorers", "msp"), ("--full-resolution",), ("--multi-scale",)):
        assert "--sequence" in fails("evaluate", stored_kb, *data, "--sequence", *option)
    for option in (("--per-image",), ("--scorers", "all"), ("--scorers", "joint,msp")):
        assert "one score" in fails("evaluate", stored_kb, *data, "--crosswise", "a,b", *option)
    for pair in ("a", "a,b,c", "a,a", ","):
        assert "takes two splits" in fails("evaluate", stored_kb, *data, "--crosswise", pair)
    assert "--sequence" in fails("evaluate", stored_kb, *data, "--sequence", "--crosswise", "a,b")
    assert "two ways" in fails("evaluate", stored_kb, *data, "--tile", "--window", 64)
    assert "--sequence" in fails("evaluate", stored_kb, *data, "--sequence", "--window", 64)
    assert "--sequence" in fails("evaluate", stored_kb, *data, "--sequence", "--sides", "300")
    for option in (("--size", 64), ("--tile",), ("--full-resolution",), ("--multi-scale",), ("--window", 64)):
        assert "--sides" in fails("evaluate", stored_kb, *data, "--sides", "64", *option)
    assert "no list of sides" in fails("evaluate", stored_kb, *data, "--sides", "a")
    assert "no option 'delta'" in fails("evaluate", stored_kb, *data, "--scorers", "mixture:delta=1")
    assert "add --sequence" in fails("evaluate", stored_kb, *data, "--report", tmp_path / "page.html")
    assert "not learned a class" in fails("evaluate", stored_kb, *data, "--sequence")
    assert "no scorer 'magic'" in fails("evaluate", stored_kb, *data, "--scorers", "magic")


def test_two_splits_are_measured_each_at_the_threshold_of_the_other(run_cli, stored_kb, own_data, tmp_path):
    for part in ("a", "b"):
        shutil.copytree(own_data, tmp_path / "both" / part, ignore=shutil.ignore_patterns("classes.json"))
    shutil.copy(own_data / "classes.json", tmp_path / "both")
    command = ("evaluate", stored_kb, "--data", f"folder:{tmp_path / 'both'}", "--crosswise", "a,b")
    code, out, err = run_cli(*command)
    assert code == 0 and "open-mIoU" in out, err
    found = json.loads(run_cli(*command, "--scorers", "msp", "--json")[1])
    assert found["scorer"] == "msp" and 0 < found["open_miou"] < found["closed_miou"] < 1
    assert [split["images"] for split in found["splits"]] == [8, 8]
