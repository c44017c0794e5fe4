"""A kill at any moment of any decision: what was confirmed is there, what was not is there whole or not at all."""

import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from itertools import pairwise

import pytest

from owseg.data.masks import Rle
from owseg.discovery.queue import Queue
from owseg.review.state import ReviewState, provisional_name
from tests.support.killing import Child, in_child, left_by_kills, put
from tests.support.queues import IDS, make, square

CORRECTED = list(Rle.of(square(9, 9, 3)).counts)
SCRIPT = {
    "accept": lambda state: state.accept(IDS[:2], provisional_name(state.group(1))),
    "correct": lambda state: state.correct(IDS[3], provisional_name(state.group(1)), CORRECTED),
    "name": lambda state: state.name_group(state.group(1), "dog"),
    "reject": lambda state: state.queue.reject(IDS[1]),
    "choose": lambda state: state.queue.choose("dog", [IDS[3][:16]]),
    "choose again": lambda state: state.queue.choose("dog", [IDS[0][:16]]),
    "rename": lambda state: state.accept([IDS[3]], "hound"),
    "undo": lambda state: state.queue.undo(),
    "undo again": lambda state: state.queue.undo(),
    "go on": lambda state: state.accept([IDS[2]], "cat"),
    "split": lambda state: state.queue.split([IDS[0], IDS[3]]),
    "merge": lambda state: state.queue.merge([IDS[1]], 2),
    "undo a move": lambda state: state.queue.undo(),
}
"""Each is one action, confirmed when it returns."""


def state_at(folder):
    return ReviewState(Queue.open(folder))


def decided(folder):
    """All that a reviewer has decided, as another process reads it."""
    state = state_at(folder)
    names = sorted({d.name for d in state.decisions().values() if d.name})
    return dict(state.decisions()), {name: state.chosen(name) for name in names}, state.groups()


def torn(left):
    """What a kill in the middle of a write may leave as well: a file of which only the first part was written."""
    for before, after in pairwise(left):
        for name, data in after.items():
            had = before.get(name, data)
            for end in range(1, len(data), 1 + len(data) // 8) if had != data and not name.endswith("-shm") else ():
                yield {**before, name: data[:end] + had[end:]}


@pytest.mark.parametrize("step", SCRIPT)
def test_a_kill_before_every_call_of_a_decision(tmp_path, step):
    folder, acts = make(tmp_path).folder, list(SCRIPT)
    for name in acts[: acts.index(step)]:
        SCRIPT[name](state_at(folder))
    before, act = decided(folder), SCRIPT[step]
    left = left_by_kills(lambda: act(state_at(folder)), folder)
    left = [files for i, files in enumerate(left) if files not in left[:i]]  # as it is between two readings
    after = decided(folder)
    assert before != after and len(left) > 1  # it was confirmed, so it is there
    ends = []
    for files in (*left, *torn(left)):
        again = put(tmp_path / "left", files)
        ends.append(decided(again))
        assert ends[-1] in (before, after)
        if ends[-1] == before:  # whoever was not answered does it again
            act(state_at(again))
            assert decided(again) == after
    moments = [end == after for end in ends[: len(left)]]
    assert moments == sorted(moments) and moments[-1]  # it happens at one moment


def test_a_killed_server_loses_no_decision(tmp_path):
    folder = make(tmp_path).folder

    def decide_and_die():
        for act in SCRIPT.values():
            act(state_at(folder))
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(decide_and_die) == -signal.SIGKILL
    alive = make(tmp_path / "alive").folder
    for act in SCRIPT.values():
        act(state_at(alive))
    assert decided(folder) == decided(alive)


def test_two_writers_that_are_killed_lose_no_decision(tmp_path):
    """One after the other, each at a moment of its own; each names its decisions, and says so as they are made."""
    queue, rng, promised = make(tmp_path), random.Random(0), []

    def writer(who, start):
        numbers = iter(range(start, start + 10_000))

        def step():
            number = next(numbers)
            act = queue.reject if number % 5 == 0 else lambda region: queue.accept(region, f"{who} {number}")
            act(IDS[number % 4])
            return number

        return step

    for start in range(0, 150_000, 10_000):
        with Child(writer("b", start)) as other:
            with Child(writer("a", start)) as one:
                until = time.monotonic() + rng.uniform(0.01, 0.15)
                while (left := until - time.monotonic()) > 0:
                    one.listen(left)
            other.listen(1)
        promised += [f"{who} {n}" for who, child in (("a", one), ("b", other)) for n in child.announced if n % 5]
        again = Queue.open(queue.folder)
        made = [action.name for action in again.actions() if action.do == "accept"]
        assert set(promised) <= set(made) and len(set(made)) == len(made)
        assert set(again.decisions()) <= set(IDS) and again.groups() == queue.groups()
        with closing(sqlite3.connect(queue.storage.path)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert len({name[0] for name in promised}) == 2
