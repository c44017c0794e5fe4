import json

import pytest

from owseg.knowledge.editing import forget
from owseg.knowledge.load import load
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from tests.support.shots import corner_shot


def test_every_version_is_listed(run_cli, stored_kb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")
    load(stored_kb).save(stored_kb)
    code, out, _ = run_cli("history", stored_kb)
    assert code == 0 and "History of" in out and out.count("calibrated joint") == 2 and "→" in out
    assert "made for a test; fitted joint on tiny; calibrated joint at 5.0%" in out  # all that the first one is
    versions = json.loads(run_cli("history", stored_kb, "--json")[1])["versions"]
    assert [(v["number"], v["parent"], v["current"]) for v in versions] == [(1, None, False), (2, 1, True)]
    for version in versions:  # the table has the minute, and JSON the second and the zone
        assert f" {version['written'][:16].replace('T', ' ')} " in out and version["written"] not in out
    assert json.loads(run_cli("history", "synthetic", "--json")[1])["versions"]


def test_who_did_what_from_which_images(run_cli, stored_kb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    shot = corner_shot()
    learn(load(stored_kb), "rock", [shot], method=NPM(1.0)).save(stored_kb)
    monkeypatch.setattr("getpass.getuser", lambda: "ben")
    forget(load(stored_kb), "rock").save(stored_kb)
    first, second, third = json.loads(run_cli("history", stored_kb, "--json")[1])["versions"]
    assert [e["action"] for e in first["events"]] == ["train", "fit", "calibrate"]
    (event,) = second["events"]
    assert (event["action"], event["details"]["user"]) == ("learn", "anna")
    assert event["details"]["shots"] == [{"id": "shot", "pixels": 600, "sha256": shot.fingerprint()}]
    assert [(e["action"], e["details"]["user"]) for e in third["events"]] == [("forget", "ben")]
    rows = [line for line in run_cli("history", stored_kb)[1].splitlines() if "rock" in line]
    assert ["anna" in rows[0], "ben" in rows[0], "ben" in rows[1]] == [True, False, True]
    for text in ("{", '{"history": 5}', '{"history": [{"details": 5}]}', '{"history": [5]}'):
        (stored_kb / "0002" / "knowledge.json").unlink()
        (stored_kb / "0002" / "knowledge.json").write_text(text)
        assert run_cli("history", stored_kb)[0] == 0


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 4711"), OSError(), ImportError("pwd")])
def test_a_user_without_a_name_is_nobody(kb, monkeypatch, error):
    def unknown():
        raise error

    monkeypatch.setattr("getpass.getuser", unknown)
    assert learn(kb, "rock", [corner_shot()], method=NPM(1.0)).history[-1].details["user"] == ""


def test_what_is_not_there(fails, tmp_path):
    assert "does not exist" in fails("history", tmp_path / "none")
