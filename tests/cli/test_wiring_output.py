"""What every command prints for programs, and that one of several processes prints it; see test_wiring.py."""

import json
import shlex

import pytest

from tests.support.commands import (
    BASELINE,
    CALIBRATE,
    IMPORT,
    LEARN,
    NEGATIVE,
    RESIDUAL,
    TRAIN,
    calls,
    replace_all,
)  # fmt: skip


@pytest.fixture(autouse=True)
def stubs(monkeypatch):
    replace_all(monkeypatch)


@pytest.mark.parametrize("line", [
    "video K a -o O.mp4",
    "predict a", TRAIN, IMPORT, RESIDUAL, NEGATIVE, "audit K O --data folder:D", "fit K --data folder:D", BASELINE,
    "calibrate K --data folder:D", "adapt K a", LEARN, "annotate K a --format cvat -o O", "exchange S D --to coco",
    "evaluate K --data folder:D", "evaluate K --data folder:D --sequence",
    "evaluate K --data folder:D --crosswise a,b", "benchmark R -o O", "submit K a --format smiyc -o O",
    "discover K a -o O", "list", "history K", "rollback .", "demo", "data check folder:D",
])  # fmt: skip
def test_json_is_one_object_on_standard_output(run_cli, line):
    code, out, err = run_cli(*shlex.split(line), "--json")
    assert code == 0 and isinstance(json.loads(out), dict), err


def test_only_the_first_of_several_processes_stores(run_cli, monkeypatch):
    monkeypatch.setattr("owseg.training.processes.is_first_process", lambda: False)
    for line in (TRAIN, RESIDUAL, NEGATIVE, BASELINE):
        code, out, _ = run_cli(*shlex.split(line))
        assert code == 0 and out == ""
    assert not calls("save") and not calls(CALIBRATE)
