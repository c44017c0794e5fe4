import json
from dataclasses import replace

import pytest

import owseg
from owseg.inference.export import export
from owseg.knowledge.event import Event
from owseg.knowledge.load import load
from tests.support import tiny


def test_what_a_knowledge_base_is(run_cli, stored_kb, own_data):
    data = ("--data", f"folder:{own_data}", "--method", "npm")
    assert run_cli("learn", stored_kb, "rock", *data)[0] == 0
    kb = load(stored_kb)
    value = json.loads(run_cli("info", stored_kb, "--json")[1])
    assert (value["kb"], value["version"], value["versions"]) == (str(stored_kb), 2, [1, 2])
    assert (value["classes"], value["learned"]) == (["road", "sky", "tree"], ["rock"])
    assert value["scorer"] == "joint" and value["fitted"] == ["joint"] and value["scorers"] == list(kb.scorers)
    assert value["threshold"] == kb.threshold.to_json() and value["calibration"]["images"] > 0
    network = value["network"]
    assert (network["backbone"], network["decoder"], network["classifier"]) == ("resnet", "aspp", "prototype")
    assert network["parameters"] == sum(p.numel() for p in kb.network.parameters()) and not network["residual"]
    assert [line.split(" ", 1)[1] for line in value["history"]] == [event.message for event in kb.history]
    code, out, _ = run_cli("info", stored_kb)
    lines = {line.split(" ", 1)[0]: line.split(" ", 1)[1].strip() for line in out.splitlines()}
    assert code == 0 and lines[str(stored_kb)] == "version 2 of 2" and lines["learned"] == "rock"
    assert lines["decision"] == f"unknown where joint > {kb.threshold.value:.4g}"
    assert "8 images" in lines["calibration"] and f"{kb.threshold.target_fpr:.1%} asked" in lines["calibration"]


def test_obstacles_have_a_line_and_are_no_calibration_of_the_unknown(run_cli, stored_kb, own_data):
    before = json.loads(run_cli("info", stored_kb, "--json")[1])
    assert before["obstacles"] is None and "\nobstacles " not in run_cli("info", stored_kb)[1]
    given = ("--data", own_data, "--task", "obstacles", "--fpr", "0.2")
    assert run_cli("calibrate", stored_kb, *given)[0] == 0
    after, kb = json.loads(run_cli("info", stored_kb, "--json")[1]), load(stored_kb)
    assert after["obstacles"] == kb.obstacles.to_json() and after["calibration"] == before["calibration"]
    out = run_cli("info", stored_kb)[1]
    assert f"where the score on the road > {kb.obstacles.value:.4g}: {kb.obstacles.achieved_fpr:.1%}" in out


def test_whatever_the_history_of_somebody_says_of_marked_regions(run_cli, kb, tmp_path):
    for i, marked in enumerate(("none", [1], {"data": "2 regions of queue"})):
        kb.after(Event("calibrate", "calibrated", {"data": "d", "marked": marked})).save(tmp_path / str(i))
        code, out, _ = run_cli("info", tmp_path / str(i))
        assert code == 0 and ("on d and 2 regions of queue" in out) == (i == 2), out


def test_one_that_is_not_calibrated(run_cli, kb, tmp_path):
    replace(kb, threshold=None).save(tmp_path / "kb")
    code, out, _ = run_cli("info", tmp_path / "kb")
    assert code == 0 and "not calibrated; run owseg calibrate" in out and "calibration " not in out


def test_a_shipped_one_and_a_published_network(run_cli, monkeypatch):
    code, out, _ = run_cli("info", "synthetic")
    assert code == 0 and out.startswith("synthetic    version 1 of 1\n") and "unknown where" in out
    monkeypatch.setattr("owseg.knowledge.load.load", lambda name: tiny.knowledge_base())
    code, out, _ = run_cli("info", "hf:some/network")
    assert code == 0 and out.startswith("hf:some/network not stored\n")


def test_what_is_not_there(fails, tmp_path):
    assert "does not exist" in fails("info", tmp_path / "none")


def test_an_export(run_cli, kb, tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    export(replace(kb, scorer="joint"), path, size=(48, 64), licence="CC0")
    value = json.loads(run_cli("info", path, "--json")[1])
    assert value["export"] == {
        "runs_in": "ONNX Runtime", "fingerprint": kb.fingerprint(), "owseg": owseg.__version__, "precision": "fp32",
        "size": "48x64", "working_size": None, "licence": "CC0",
    }  # fmt: skip
    assert value["classes"] == ["road", "sky", "tree"] and value["learned"] == [] and value["versions"] == []
    assert value["threshold"] == kb.threshold.to_json() and len(value["history"]) == len(kb.history)
    assert "network" not in value and "obstacles" not in value
    code, out, _ = run_cli("info", path)
    assert code == 0 and out.splitlines()[0].endswith("an export")
    assert "fp32, run in ONNX Runtime, for images of 48x64 (HxW); of the knowledge base " in out
