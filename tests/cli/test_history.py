import json

from owseg.knowledge.load import load


def test_every_version_is_listed(run_cli, stored_kb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")
    load(stored_kb).save(stored_kb)
    code, out, _ = run_cli("history", stored_kb)
    assert code == 0 and "History of" in out and out.count("calibrated joint") == 2 and "→" in out
    assert "made for a test; fitted joint on tiny; calibrated joint at 5.0%" in out  # all that the first one is
    versions = json.loads(run_cli("history", stored_kb, "--json")[1])["versions"]
    assert [(v["number"], v["parent"], v["current"]) for v in versions] == [(1, None, False), (2, 1, True)]
    assert json.loads(run_cli("history", "synthetic", "--json")[1])["versions"]


def test_what_is_not_there(fails, tmp_path):
    assert "does not exist" in fails("history", tmp_path / "none")
