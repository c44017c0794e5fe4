"""Somebody stores another version while a command works: its work is done again on that one, or refused."""

from dataclasses import replace

import pytest

from owseg.cli._rebase import TRIES
from owseg.knowledge.commit import rollback_version
from owseg.knowledge.event import Event
from owseg.knowledge.load import load
from owseg.knowledge.versions import version_history, version_numbers
from owseg.learners.learn import learn
from owseg.learners.npm import NPM
from tests.support.shots import corner_shot


def meanwhile(monkeypatch, target, *steps):
    """Before each of the first calls of ``target``, such as ``owseg.knowledge.calibration:calibrate``, do one step."""
    module, name = target.split(":")
    left = list(steps)
    real = getattr(__import__(module, fromlist=[name]), name)

    def overtaken(*args, **kwargs):
        if left:
            left.pop(0)()
        return real(*args, **kwargs)

    monkeypatch.setattr(f"{module}.{name}", overtaken)


def rock(place):
    learn(load(place), "rock", [corner_shot()], method=NPM(1.0)).save(place)


def note(place, message="noted"):
    load(place).after(Event("note", message)).save(place)


CALIBRATE, SEQUENCE = "owseg.knowledge.calibration:calibrate", "owseg.learners.sequence:learn_sequence"


def test_a_calibration_during_which_a_class_was_learned_is_done_again(run_cli, stored_kb, own_data, monkeypatch):
    meanwhile(monkeypatch, CALIBRATE, lambda: rock(stored_kb))
    code, out, err = run_cli("calibrate", stored_kb, "--data", own_data, "--fpr", "0.3")
    assert code == 0 and f"{stored_kb} is at version 3" in out
    assert f"Another version of {stored_kb} was stored meanwhile; the work is done again on that one.\n" in err
    kb = load(stored_kb)
    assert kb.learned_classes == ("rock",) and kb.threshold.target_fpr == 0.3
    assert [v.parent for v in version_history(stored_kb)] == [None, 1, 2]
    # On what is there now: as if it had begun later.
    rollback_version(stored_kb)
    assert run_cli("calibrate", stored_kb, "--data", own_data, "--fpr", "0.3")[0] == 0
    assert load(stored_kb).threshold == kb.threshold


@pytest.mark.parametrize("command", ["calibrate", "learn"])
def test_without_rebase_nothing_is_stored(fails, stored_kb, own_data, monkeypatch, command):
    line = ("calibrate", stored_kb, "--data", own_data)
    if command == "learn":
        line = ("learn", stored_kb, "rock", "--data", own_data, "--method", "npm")
    meanwhile(monkeypatch, CALIBRATE if command == "calibrate" else SEQUENCE, lambda: note(stored_kb))
    assert "is at version 2 now, and this was made from version 1: nothing was" in fails(*line, "--no-rebase")
    assert version_numbers(stored_kb) == [1, 2]


def test_whoever_is_overtaken_again_and_again_gives_up(run_cli, stored_kb, own_data, monkeypatch):
    meanwhile(monkeypatch, CALIBRATE, *[lambda: note(stored_kb)] * TRIES)
    code, out, err = run_cli("calibrate", stored_kb, "--data", own_data)
    assert code == 1 and not out and version_numbers(stored_kb) == list(range(1, TRIES + 2))
    assert err.count("done again") == TRIES - 1 and err.splitlines()[-1].startswith("error: ")
    meanwhile(monkeypatch, CALIBRATE, *[lambda: note(stored_kb)] * (TRIES - 1))
    assert run_cli("calibrate", stored_kb, "--data", own_data)[0] == 0


def test_elsewhere_the_work_is_not_done_again_in_vain(fails, stored_kb, own_data, tmp_path):
    """What is loaded stays the same there, however often it is loaded."""
    place = tmp_path / "copy"
    line = ("learn", stored_kb, "rock", "--data", own_data, "--method", "npm", "-o", place)
    load(stored_kb).save(place)
    note(place)
    assert f"{place} is at version 2 now, and this was made from version 1" in fails(*line)


def test_classes_that_were_stored_before_are_not_learned_again(run_cli, stored_kb, images, made, tmp_path, monkeypatch):
    from owseg.exchange.formats import write
    from owseg.knowledge.base import KnowledgeBase

    path = write([a for a in made if a.image != "elsewhere.png"], tmp_path / "made", "coco")
    saved, real = [], KnowledgeBase.save

    def save(kb, directory, slim=False):
        number = real(kb, directory, slim)
        saved.append(kb)
        if len(saved) == 1:  # between the first class and the second
            other = load(directory)
            real(replace(other, history=(*other.history, Event("note", "between"))), directory)
        return number

    monkeypatch.setattr(KnowledgeBase, "save", save)
    line = ("learn", stored_kb, "rock,cow", "--shots", path, "--images", images, "--method", "npm")
    code, _, err = run_cli(*line)
    assert code == 0 and "done again" in err, err
    told = [e.message.split(" from ")[0] for e in load(stored_kb).history[-3:]]
    assert told == ["learned rock", "between", "learned cow"]
    assert [v.parent for v in version_history(stored_kb)] == [None, 1, 2, 3]


def test_a_class_that_another_learned_meanwhile_is_refused(run_cli, stored_kb, own_data, monkeypatch):
    meanwhile(monkeypatch, SEQUENCE, lambda: rock(stored_kb))
    code, _, err = run_cli("learn", stored_kb, "rock", "--data", own_data, "--method", "npm")
    assert code == 1 and "'rock' is known already" in err and version_numbers(stored_kb) == [1, 2]
