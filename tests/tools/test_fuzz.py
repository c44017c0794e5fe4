"""Some seconds of ``make fuzz``, and whether it notices what it is for."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.fuzz import kinds, mutations
from tools.fuzz.known import is_known
from tools.fuzz.run import Outcome, Watched, run_all, run_case

FEW = {"knowledge": 20}
"""How many cases of a kind each part runs; 5 of the others."""


@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("kind", sorted(kinds.KINDS))
def test_whatever_a_file_holds_it_is_read_or_refused(kind, part):
    if kind == "http":
        pytest.importorskip("nicegui")
    most = FEW.get(kind, 5)
    found = [run_case(kind, number) for number in range(part * most, (part + 1) * most)]
    assert [o for o in found if o.what == "failed" and not is_known(o)] == []
    assert kind == "http" or any(o.what == "refused" for o in found)


def test_a_case_depends_on_its_number_and_the_seed_alone(monkeypatch):
    seen = []
    monkeypatch.setitem(kinds.KINDS, "odd", lambda folder, random: seen.append(random.random()))
    for number, seed in ((0, 0), (1, 0), (0, 1), (0, 0)):
        run_case("odd", number, seed)
    assert seen[0] == seen[3] and len(set(seen)) == 3


def raise_key_error(folder: Path, random: object) -> None:
    raise KeyError("x")


def test_another_error_than_ours_is_a_failure(monkeypatch):
    monkeypatch.setitem(kinds.KINDS, "odd", raise_key_error)
    found = run_case("odd", 0)
    assert found.what == "failed" and found.reason.startswith("KeyError at test_fuzz.py:")


def test_a_process_that_hangs_or_grows_is_ended_and_another_goes_on(monkeypatch, tmp_path):
    from tools.fuzz import run

    monkeypatch.setattr(run, "MOST_SECONDS", 0.7)  # six times of it with imports
    watched = Watched(0)
    try:
        assert watched.run("recipe", 0).what in ("read", "refused")
        first = watched.process.pid
        os.kill(first, 19)  # SIGSTOP: it never answers
        found = watched.run("recipe", 1)
        assert found.what == "failed" and "took more than" in found.reason and watched.process.pid != first
        assert watched.run("recipe", 1).what in ("read", "refused")
        monkeypatch.setattr(run, "MOST_SECONDS", 60.0)
        monkeypatch.setattr(run, "MOST_BYTES", -(1 << 50))
        assert "MiB" in watched.run("image", 0).reason
    finally:
        watched.end()


def test_all_kinds_take_turns_until_the_time_is_over():
    class Worker:
        ended = False

        def run(self, kind: str, number: int) -> Outcome:
            time.sleep(0.01)
            return Outcome(kind, number, "read")

        def end(self) -> None:
            self.ended = True

    worker = Worker()
    found = list(run_all(["a", "b"], 0.1, 0, worker))
    assert [(o.kind, o.number) for o in found[:4]] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert worker.ended and len(found) < 40


def test_changes_keep_the_value_that_was_given():
    from random import Random

    value = {"a": [1, 2, {"b": "c"}]}
    found = {str(mutations.changed_json(value, Random(i))) for i in range(200)}
    assert value == {"a": [1, 2, {"b": "c"}]} and len(found) > 100
    assert len({mutations.changed_bytes(b"abc" * 20, Random(i)) for i in range(50)}) > 45


def test_it_prints_counts_and_repeats_a_case():
    run = [sys.executable, "-m", "tools.fuzz", "--only"]
    again = subprocess.run([*run, "recipe:3"], capture_output=True, text=True, check=False)
    assert again.returncode == 0 and again.stdout.split()[0] in ("read", "refused")
    some = subprocess.run([*run, "recipe", "--seconds", "0.1"], capture_output=True, text=True, check=False)
    assert some.returncode == 0 and "seed 0; 0 kinds of failure." in some.stdout
