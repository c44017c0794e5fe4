"""Which commands say what is wrong, of which data and classes: on standard error, and with --json as ``notes``."""

import json
import shlex

import pytest

from tests.support.commands import calls, replace_all

DIAGNOSTICS = "evaluation.diagnostics"


@pytest.fixture
def stubs(monkeypatch):
    replace_all(monkeypatch)


@pytest.mark.parametrize("line, target, expected", [
    ("train K --data folder:D", "of_training", {"kb": "trained", "train": "folder:D/train", "val": "folder:D/val"}),
    ("calibrate K --data folder:D", "of_calibration", {"kb": "calibrated K", "data": "folder:D/val"}),
    ("calibrate K --data folder:D --split s", "sizes_of", {"data": "folder:D/s"}),
    ("fit K --data folder:D", "sizes_of", {"data": "folder:D/train, to train"}),
    ("evaluate K --data folder:D", "of_evaluation", {"result": "evaluation", "threshold": None}),
    ("evaluate K --data folder:D", "of_measured", {"kb": "K", "data": "folder:D/test"}),
    ("evaluate K --data folder:D", "sizes_of", {"data": "folder:D/test"}),
    ("adapt K a b", "of_adaptation", {"images": 2}),
    ("fit K --data folder:D --scorers knn", "of_fit", {"scorers": ["knn"], "has_val": False}),
    ("fit K --data folder:D --scorers joint", "of_fit", {"has_val": True}),
])  # fmt: skip
def test_what_is_checked(run_cli, stubs, line, target, expected):
    code, _, err = run_cli(*shlex.split(line))
    assert code == 0, err
    arguments = calls(f"{DIAGNOSTICS}:{target}")[0]
    assert {name: arguments[name] for name in expected} == expected


def test_the_size_that_was_asked_for_is_not_criticised(run_cli, stubs):
    for options in ("--size 64", "--tile", "--sides 64"):
        assert run_cli(*shlex.split(f"evaluate K --data folder:D {options}"))[0] == 0
    assert not calls(f"{DIAGNOSTICS}:sizes_of")


def test_each_class_is_checked_against_what_was_known_before_it(run_cli, stubs, monkeypatch):
    assert run_cli("learn", "K", "cow,hen", "--data", "folder:D", "--method", "npm")[0] == 0
    first, second = calls("learners.leave_one_out:left_out_iou")
    assert (first["kb"], first["name"], first["shots"]) == ("K", "cow", ["drawn"])
    assert (second["kb"], second["name"], second["method"]) == ("cow learned", "hen", "npm with {}")


def test_a_version_is_stored_before_it_is_checked(run_cli, stubs, monkeypatch):
    def fail(*_):
        raise KeyError("stopped here")

    monkeypatch.setattr("owseg.evaluation.diagnostics.of_training", fail)
    with pytest.raises(KeyError):
        run_cli("train", "K", "--data", "folder:D")
    assert calls("save")


@pytest.mark.parametrize("line", ["evaluate K --data folder:D", "train K --data folder:D"])
def test_notes_are_on_standard_error_or_in_the_json(run_cli, stubs, monkeypatch, line):
    for name in ("of_evaluation", "of_training"):
        monkeypatch.setattr(f"owseg.evaluation.diagnostics.{name}", lambda *_: ["it is bad."])
    _, out, err = run_cli(*shlex.split(line))
    assert "it is bad" not in out and err == "Note: it is bad.\n"
    _, out, err = run_cli(*shlex.split(line), "--json")
    assert json.loads(out)["notes"] == ["it is bad."] and err == ""


def test_real_shots_are_checked(run_cli, stored_kb, shots):
    _, _, err = run_cli("learn", stored_kb, "rock", "--shots", shots)
    assert "each shot of rock is found with an IoU of" in err and "(f0)" in err and "(f1)" in err


def test_real_data_is_checked(run_cli, stored_kb, own_data):
    _, out, _ = run_cli("calibrate", stored_kb, "--data", own_data, "--json")
    assert "on 8 images say little of others; calibrate on 20 or more" in json.loads(out)["notes"][0]
