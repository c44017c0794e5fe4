"""What a command says beside its result: where one split of the data had two parts to play."""

import shlex
from types import SimpleNamespace

import pytest

from owseg.errors import NoSuchSplit
from owseg.knowledge.event import Event
from tests.support.commands import FakeKB, replace_all

TRAIN, RESIDUAL = "train K --data folder:D --backbone B", "train-residual K --inliers folder:I --outliers O"


@pytest.fixture(autouse=True)
def stubs(monkeypatch):
    replace_all(monkeypatch)


@pytest.mark.parametrize("splits, named", [(("train", "val", "test"), ""), (("train", "val"), " --split val")])
def test_the_next_command_is_of_a_split_that_there_is(run_cli, monkeypatch, splits, named):
    def opened(spec, split):
        if split not in splits:
            raise NoSuchSplit(f"{spec} has no split {split}.")
        return SimpleNamespace(name=split, ids=("a",))

    monkeypatch.setattr("owseg.data.datasets.open_source", opened)
    assert run_cli(*shlex.split(TRAIN))[1].endswith(f"Next: owseg evaluate K --data folder:D{named}\n")


@pytest.mark.parametrize(
    "line, note",
    [(TRAIN, "has no val/"), (f"{TRAIN} --seed 1", "too small to be divided"), (RESIDUAL, "too few to be divided")],
)
def test_what_chose_and_calibrated_at_once_is_said(run_cli, monkeypatch, line, note):
    if "no val" in note:
        monkeypatch.setattr(
            "owseg.data.datasets.open_source", lambda spec, split: SimpleNamespace(name="same", ids=("a",))
        )
    elif "small" in note:
        history = (Event("train", "made", {"val": {"calibrated_apart": False}}),)
        monkeypatch.setattr(FakeKB, "history", history)
    else:
        monkeypatch.setattr("owseg.knowledge.calibration.divide_val", lambda val: (val, val))
    code, out, _ = run_cli(*shlex.split(line))
    assert code == 0 and note in out
