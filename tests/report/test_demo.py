import json
from collections import Counter
from dataclasses import replace

import pytest

from owseg.errors import OwsegError
from owseg.knowledge.load import load
from owseg.knowledge.versions import version_history
from owseg.report import demo


def test_the_loop_runs_on_a_folder(run_cli, stored_kb, own_data, tmp_path):
    out = tmp_path / "out"
    told = ("--data", f"folder:{own_data}", "--kb", stored_kb, "--learn", "rock", "-o", out, "--json")
    code, text, _ = run_cli("demo", *told)
    assert code == 0
    result = json.loads(text)
    first, second = (v.message for v in version_history(out / "kb"))
    assert "calibrated" in first and second.startswith("learned")
    assert load(out / "kb").labels.names[-1] == "rock"
    assert set(result["before"]["iou"]) == {"road", "sky", "tree"} and "rock" in result["after"]["iou"]
    page = (out / "report.html").read_text()
    for words in ("after learning rock", "Before and after", "history", "ground truth"):
        assert words in page
    assert page.count("data:image/") >= 5 * 5


def test_the_demo_prints_where_its_report_is_and_what_to_try(run_cli, stored_kb, own_data, tmp_path):
    options = ("--data", f"folder:{own_data}", "--kb", stored_kb, "--learn", "rock", "-o", tmp_path / "my out")
    code, out, err = run_cli("demo", *options)
    assert code == 0
    assert "The open-world loop" in out and str(tmp_path / "my out" / "report.html") in out
    assert f"owseg history '{tmp_path / 'my out' / 'kb'}'" in out
    assert [line[:3] for line in err.splitlines() if line[1:3] == "/5"] == [f"{i}/5" for i in range(1, 6)]


def test_the_seed_draws_the_shots_and_the_page_names_it(stored_kb, own_data, tmp_path, monkeypatch):
    seeds, sample = [], demo.sample_shots
    monkeypatch.setattr(demo, "sample_shots", lambda *given: seeds.append(given[1:]) or sample(*given))
    demo.run(f"folder:{own_data}", str(stored_kb), "rock", tmp_path / "out", 7)
    assert seeds == [("rock", 5, 7)]
    assert "<dt>seed of the shots</dt><dd>7</dd>" in (tmp_path / "out" / "report.html").read_text()


def test_every_image_to_calibrate_and_evaluate_on_is_read_once(stored_kb, own_data, tmp_path, monkeypatch):
    reads, open_dataset = Counter(), demo.open_dataset

    def counted(spec, split, *labels):
        data = open_dataset(spec, split, *labels)
        read = data.source.read
        source = replace(data.source, read=lambda i: reads.update([(split, i)]) or read(i))
        return replace(data, source=source)

    monkeypatch.setattr(demo, "open_dataset", counted)
    demo.run(f"folder:{own_data}", str(stored_kb), "rock", tmp_path / "out")
    assert {n for (split, _), n in reads.items() if split != "train"} == {1}
    assert sum(split == "test" for split, _ in reads) == sum(split == "val" for split, _ in reads) == 8


def test_the_demo_asks_for_what_it_needs(stored_kb, own_data, tmp_path):
    with pytest.raises(OwsegError, match="--learn"):
        demo.run(f"folder:{own_data}", str(stored_kb), None, tmp_path / "out")
    with pytest.raises(OwsegError, match=r"not an unknown class of folder.*; name one of those: rock"):
        demo.run(f"folder:{own_data}", str(stored_kb), "sky", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_shipped_demo_finds_the_unknown_and_learns_it(monkeypatch, tmp_path, half_size_here, few_shots):
    """The main job on few frames at half their size: far better than chance before, and the class is there after."""
    monkeypatch.setattr(demo, "IMAGES", 8)
    result = demo.run("synthetic", None, None, tmp_path / "out")
    metrics = result["before"]["scores"]["joint@segments"]
    assert metrics["auroc"] > 0.8
    assert metrics["ap"] > 3 * metrics["outliers"] / (metrics["outliers"] + metrics["inliers"])
    assert result["before"]["summary"]["miou"] > 0.6
    assert result["after"]["iou"]["animal"] > 0.1
    assert result["after"]["summary"]["miou_old"] > result["before"]["summary"]["miou"] - 0.05
