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


def test_a_bad_image_is_left_out_and_said(run_cli, fails, stored_kb, own_data, tmp_path):
    few = tmp_path / "few" / own_data.name
    shutil.copytree(own_data, few)
    for kind in ("images", "masks"):
        (few / kind / "f3.png").unlink()
    line = ("evaluate", stored_kb, "--data")
    expected = json.loads(run_cli(*line, few, "--json")[1])
    (own_data / "masks" / "f3.png").write_bytes(b"no mask")
    code, out, err = run_cli(*line, own_data, "--out", tmp_path / "parts")
    assert code == 3 and "7 images, 1 skipped" in out and err.count("skipped: ") == 1 and "f3.png" in err
    assert (tmp_path / "parts" / "errors.csv").read_text().splitlines()[1].startswith("f3,")
    for how in ((), ("--out", tmp_path / "parts")):
        code, out, err = run_cli(*line, own_data, *how, "--json")
        found = json.loads(out)
        assert code == 3 and list(found["skipped"]) == ["f3"] and "f3.png" in found["skipped"]["f3"]
        assert {**found, "skipped": {}} == expected
    for mask in (own_data / "masks").iterdir():
        mask.write_bytes(b"no mask")
    assert "none of the 8 images" in fails(*line, own_data)


def test_a_bad_image_is_left_out_of_sequences_and_pairs_too(run_cli, stored_kb, shots, own_data, tmp_path, quick_tsne):
    for part in ("a", "b"):
        shutil.copytree(own_data, tmp_path / "both" / part, ignore=shutil.ignore_patterns("classes.json"))
    shutil.copy(own_data / "classes.json", tmp_path / "both")
    (tmp_path / "both" / "b" / "images" / "f0.png").write_bytes(b"no image")
    (own_data / "images" / "f3.png").write_bytes(b"no image")
    sequence = ("--data", own_data, "--sequence", "--report", tmp_path / "page.html")
    pair = ("--data", f"folder:{tmp_path / 'both'}", "--crosswise", "a,b")
    for how, name in ((pair, "f0"), (sequence, "f3")):
        if how == sequence:
            assert run_cli("learn", stored_kb, "rock", "--shots", shots)[0] == 0
        code, out, err = run_cli("evaluate", stored_kb, *how)
        assert code == 3 and err.count("skipped: ") == 1 and f"{name}.png" in err and "7" in out
    assert (tmp_path / "page.html").stat().st_size > 0
