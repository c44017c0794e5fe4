"""No save hides what others stored meanwhile, and every parent is the version that something was made from."""

import multiprocessing
import os
import pickle
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from owseg.errors import NotCurrent, OwsegError
from owseg.knowledge.base import KnowledgeBase
from owseg.knowledge.commit import commit_version, rollback_version
from owseg.knowledge.event import Event
from owseg.knowledge.load import load
from owseg.knowledge.versions import current_version, read_version, version_history, version_numbers
from tests.support.folders import contents
from tests.support.versions import FILES, spoil


def done(kb: KnowledgeBase, message: str) -> KnowledgeBase:
    """``kb`` after one more step, of which only the event is left; as calibrating does, it keeps the tuple."""
    return kb.after(Event("calibrate", message, {"split": (message, float("nan"))}))


def messages(place, number=None):
    return [e.message for e in load(place, number).history]


def parents(place):
    return [v.parent for v in version_history(place)]


def refused(kb, place, now, made_from):
    before = contents(place)
    with pytest.raises(NotCurrent) as caught:
        kb.save(place)
    words = f"{place} is at version {now} now, and this was made from version {made_from}: nothing was stored; load"
    assert str(caught.value).startswith(words) and contents(place) == before


def test_what_was_loaded_before_another_was_stored_is_refused(stored_kb):
    mine, other = load(stored_kb), load(stored_kb)
    assert done(other, "theirs").save(stored_kb) == 2
    refused(done(mine, "mine"), stored_kb, 2, 1)
    assert done(load(stored_kb), "mine").save(stored_kb) == 3
    assert messages(stored_kb)[-2:] == ["theirs", "mine"] and parents(stored_kb) == [None, 1, 2]


def test_one_value_goes_on_after_it_was_stored(stored_kb):
    """As in a notebook: nothing is loaded in between."""
    kb = load(stored_kb)
    for number, message in enumerate(("one", "two", "three"), 2):
        kb = done(kb, message)
        assert kb.save(stored_kb) == number
    assert parents(stored_kb) == [None, 1, 2, 3]
    assert kb.save(stored_kb) == 5 and parents(stored_kb)[-1] == 4  # once more, the same


def test_of_two_made_from_one_value_the_second_is_refused(kb, tmp_path):
    kb.save(tmp_path / "kb")
    one, two = done(kb, "one"), done(kb, "two")
    assert one.save(tmp_path / "kb") == 2
    refused(two, tmp_path / "kb", 2, 1)
    assert done(one, "three").save(tmp_path / "kb") == 3


def test_a_rollback_meanwhile_is_not_undone(stored_kb):
    done(load(stored_kb), "a mistake").save(stored_kb)
    kb = load(stored_kb)
    rollback_version(stored_kb)
    refused(done(kb, "on top of it"), stored_kb, 1, 2)
    assert done(load(stored_kb), "without it").save(stored_kb) == 3
    assert parents(stored_kb) == [None, 1, 1] and "a mistake" not in messages(stored_kb)


def test_what_was_taken_back_may_be_done_again_at_once(stored_kb):
    """The second has the words of the first, and may be of the same second."""
    kb = load(stored_kb)
    done(kb, "cow").save(stored_kb)
    rollback_version(stored_kb)
    time.sleep(0.002)
    assert done(kb, "cow").save(stored_kb) == 3 and parents(stored_kb) == [None, 1, 1]


def test_what_one_stored_oneself_and_another_took_back_is_refused(stored_kb):
    kb = done(load(stored_kb), "mine")
    kb.save(stored_kb)
    rollback_version(stored_kb)
    refused(done(kb, "more"), stored_kb, 1, 2)


def test_an_old_version_that_is_loaded_by_its_number_begins_a_branch(stored_kb):
    for message in ("two", "three"):
        done(load(stored_kb), message).save(stored_kb)
    assert done(load(stored_kb, 1), "branch").save(stored_kb) == 4 and parents(stored_kb)[-1] == 1
    old = load(stored_kb, 2)
    done(load(stored_kb), "meanwhile").save(stored_kb)
    refused(done(old, "branch"), stored_kb, 5, 2)
    rollback_version(stored_kb, 2)
    assert done(old, "now it is current").save(stored_kb) == 6 and parents(stored_kb)[-1] == 2


def test_a_branch_goes_on_from_a_lost_pointer(stored_kb):
    done(load(stored_kb), "two").save(stored_kb)
    kb = load(stored_kb)
    (stored_kb / "CURRENT").unlink()
    with pytest.raises(OwsegError, match="CURRENT is missing"):
        done(kb, "three").save(stored_kb)
    assert done(load(stored_kb, 2), "three").save(stored_kb) == 3 and parents(stored_kb) == [None, 1, 2]


def test_what_comes_from_elsewhere_has_no_parent(kb, stored_kb, tmp_path):
    other = replace(kb, history=(Event("train", "another network"),))
    assert other.save(stored_kb) == 2 and parents(stored_kb) == [None, None]
    done(load(stored_kb, 1), "copied").save(tmp_path / "copy")
    assert parents(tmp_path / "copy") == [None]
    assert replace(kb, history=()).save(stored_kb) == 3 and parents(stored_kb)[-1] is None


def test_what_goes_by_way_of_another_directory_hides_nothing_either(stored_kb, tmp_path):
    done(load(stored_kb), "copied").save(tmp_path / "copy")
    done(load(stored_kb), "meanwhile").save(stored_kb)
    refused(load(tmp_path / "copy"), stored_kb, 2, 1)
    rollback_version(stored_kb)
    assert load(tmp_path / "copy").save(stored_kb) == 3 and parents(stored_kb) == [None, 1, 1]


def test_a_copy_of_the_directory_knows_its_parents(stored_kb, tmp_path):
    kb = load(stored_kb)
    shutil.copytree(stored_kb, tmp_path / "copy")
    assert done(kb, "there").save(tmp_path / "copy") == 2 and parents(tmp_path / "copy") == [None, 1]
    refused(done(kb, "again"), tmp_path / "copy", 2, 1)


def test_a_damaged_version_is_not_the_beginning_of_anything(stored_kb):
    kb = load(stored_kb)
    done(kb, "two").save(stored_kb)
    spoil(stored_kb / "0002" / "knowledge.json", b"[]")
    rollback_version(stored_kb, 1)
    assert done(kb, "three").save(stored_kb) == 3 and parents(stored_kb)[-1] == 1


def test_the_directory_may_be_named_in_any_way(stored_kb, monkeypatch):
    monkeypatch.chdir(stored_kb.parent)
    kb = load("kb")
    done(load(stored_kb), "theirs").save(stored_kb)
    Path("link").symlink_to(stored_kb)
    for name in ("kb", "./kb", "link", stored_kb):
        with pytest.raises(NotCurrent):
            done(kb, "mine").save(name)


def test_where_it_was_loaded_from_is_no_part_of_what_it_holds(kb, stored_kb):
    loaded = load(stored_kb)
    assert kb.origin is None and loaded.origin.number == 1 and loaded.origin.directory == stored_kb
    assert loaded.fingerprint(True) == kb.fingerprint(True)
    assert pickle.loads(pickle.dumps(loaded)).origin == loaded.origin


def test_a_version_is_described_by_all_that_was_done_since_its_parent(stored_kb):
    kb = done(done(load(stored_kb), "fitted"), "calibrated")
    kb.save(stored_kb)
    done(kb, "learned").save(stored_kb)
    load(stored_kb).save(stored_kb)
    told = [v.message for v in version_history(stored_kb)]
    assert told[0].startswith("made for a test; fitted ") and "; calibrated joint at 5.0%" in told[0]
    assert told[1:] == ["fitted; calibrated", "learned", "learned"]


def in_processes(work, place, count, rounds):
    """Run ``work(place, who, rounds, announced)`` in ``count`` processes at once; return what they announced."""
    fork = multiprocessing.get_context("fork")
    announced = fork.SimpleQueue()
    workers = [fork.Process(target=work, args=(place, who, rounds, announced)) for who in range(count)]
    for worker in workers:
        worker.start()
    found = [announced.get() for _ in range(count * rounds)]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    return found


def add_words(place, who, rounds, announced):
    """Add a word to what the newest version holds, again and again."""
    for i in range(rounds):
        word, number = f"{who}-{i}", None
        while number is None:
            parent, folder = read_version(place, verify=False)
            held = (folder / "knowledge.json").read_bytes()
            with suppress(NotCurrent):
                number = commit_version(place, {**FILES, "knowledge.json": held + f"{word} ".encode()}, word, parent)
        announced.put((number, word))


def test_eight_writers_of_twenty_rounds_lose_nothing(tmp_path, monkeypatch):
    """`make storm` does it for minutes, with kills and a full disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # what survives a power cut is tested elsewhere; this takes long
    place = tmp_path / "kb"
    commit_version(place, {**FILES, "knowledge.json": b""})
    stored = dict(in_processes(add_words, place, 8, 20))
    assert sorted(stored) == list(range(2, 162)) and len(set(stored.values())) == 160
    assert parents(place) == [None, *range(1, 161)]
    held = (read_version(place)[1] / "knowledge.json").read_text().split()
    assert held == [stored[number] for number in range(2, 162)]  # each on top of the one before


def add_events(place, who, rounds, announced):
    for i in range(rounds):
        number = None
        while number is None:
            with suppress(NotCurrent):
                number = done(load(place), f"{who}-{i}").save(place)
        announced.put((number, f"{who}-{i}"))


def test_knowledge_bases_stored_at_once_hold_what_all_did(stored_kb):
    first = messages(stored_kb)
    stored = dict(in_processes(add_events, stored_kb, 3, 3))
    assert version_numbers(stored_kb) == list(range(1, 11)) and current_version(stored_kb) == 10
    assert parents(stored_kb) == [None, *range(1, 10)]
    assert messages(stored_kb) == [*first, *(stored[number] for number in range(2, 11))]
