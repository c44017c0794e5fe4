"""A kill at any moment of any decision: what was acknowledged is there, what was not is there whole or not at all."""

import os
import shutil
import signal
from itertools import pairwise

import pytest

from owseg.data.masks import Rle
from owseg.discovery.queue import Queue
from owseg.review.state import ReviewState, provisional
from tests.support.killing import in_child, left_by_kills
from tests.support.queues import IDS, make, square

DRAWN = list(Rle.of(square(9, 9, 3)).counts)
SCRIPT = {
    "accept": lambda desk: desk.accept(IDS[:2], provisional(desk.group(1))),
    "correct": lambda desk: desk.correct(IDS[3], provisional(desk.group(1)), DRAWN),
    "name": lambda desk: desk.name_group(desk.group(1), "dog"),
    "reject": lambda desk: desk.queue.reject(IDS[1]),
    "choose": lambda desk: desk.choose("dog", [IDS[3][:16]]),
    "choose again": lambda desk: desk.choose("dog", [IDS[0][:16]]),
    "rename": lambda desk: desk.accept([IDS[3]], "hound"),
    "undo": lambda desk: desk.queue.undo(),
    "undo again": lambda desk: desk.queue.undo(),
    "go on": lambda desk: desk.accept([IDS[2]], "cat"),
}
"""Each is one action, acknowledged when it returns."""


def desk_at(folder):
    return ReviewState(Queue.open(folder))


def told(folder):
    """All that a person has said, as another process reads it."""
    desk = desk_at(folder)
    names = sorted({d.name for d in desk.decisions().values() if d.name})
    return dict(desk.decisions()), {name: desk.chosen(name) for name in names}


def put(folder, files):
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def torn(left):
    """What a kill in the middle of a write may leave as well: of what was added to a file only a part."""
    for before, after in pairwise(left):
        for name, data in after.items():
            had = before.get(name)
            if had is not None and data.startswith(had):
                yield from ({**after, name: data[:end]} for end in range(len(had) + 1, len(data), 1 + len(data) // 40))


@pytest.mark.parametrize("step", SCRIPT)
def test_a_kill_before_every_call_of_a_decision(tmp_path, step):
    folder, acts = make(tmp_path).folder, list(SCRIPT)
    for name in acts[: acts.index(step)]:
        SCRIPT[name](desk_at(folder))
    before, act = told(folder), SCRIPT[step]
    left = left_by_kills(lambda: act(desk_at(folder)), folder)
    after = told(folder)
    assert before != after and len(left) > 1  # it was acknowledged, so it is there
    ends = []
    for files in (*left, *torn(left)):
        again = put(tmp_path / "left", files)
        ends.append(told(again))
        assert ends[-1] in (before, after)
        if ends[-1] == before:  # whoever was not answered does it again
            act(desk_at(again))
            assert told(again) == after
    moments = [end == after for end in ends[: len(left)]]
    assert moments == sorted(moments) and moments[-1]  # it happens at one moment


def test_a_killed_server_loses_no_decision(tmp_path):
    folder = make(tmp_path).folder

    def decide_and_die():
        for act in SCRIPT.values():
            act(desk_at(folder))
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(decide_and_die) == -signal.SIGKILL
    alive = make(tmp_path / "alive").folder
    for act in SCRIPT.values():
        act(desk_at(alive))
    assert told(folder) == told(alive)
