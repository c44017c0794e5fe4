from functools import partial
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from owseg.data.masks import Rle
from owseg.discovery.database import in_memory
from owseg.discovery.decisions import Decisions
from owseg.discovery.log import Action, insert_action
from owseg.discovery.queue import Queue
from owseg.errors import OwsegError
from tests.support.killing import in_children
from tests.support.queues import edit, square


def log(queue, *actions):
    """Add actions to the log, unchecked."""
    with queue.storage.writing() as db:
        for action in actions:
            insert_action(db, action)


def test_the_last_action_on_a_region_counts(queue, ids):
    assert queue.decisions() == {} and queue.accepted() == {} and not queue.undo()
    queue.accept(ids[:2], "dog")
    queue.reject(ids[1])
    queue.accept(ids[3], "cat")
    actions = {r: (d.action, d.name) for r, d in queue.decisions().items()}
    assert actions == {ids[0]: ("accept", "dog"), ids[1]: ("reject", None), ids[3]: ("accept", "cat")}
    assert queue.accepted() == {"dog": [ids[0]], "cat": [ids[3]]}
    assert queue.undo() and queue.undo()
    assert queue.accepted() == {"dog": ids[:2]}
    assert queue.undo() and not queue.undo() and queue.decisions() == {}
    queue.accept(ids[0], "  dog ")
    assert queue.accepted() == {"dog": [ids[0]]}


def test_a_new_name_keeps_the_corrected_mask(queue, ids):
    queue.accept(ids[0], "dgo")
    queue.accept(ids[3], "dgo", square(9, 9, 3))
    queue.rename([ids[0], ids[3]], "dog")
    found = queue.decisions()
    assert queue.accepted() == {"dog": [ids[0], ids[3]]}
    assert found[ids[0]].mask is None and np.array_equal(found[ids[3]].mask.mask(), square(9, 9, 3))
    assert queue.undo() and queue.accepted() == {"dgo": [ids[0], ids[3]]}
    queue.reject(ids[0])
    for several, name, why in (([ids[3], ids[0]], "dog", "not accepted"), ([ids[1]], "dog", "not accepted"),
                               ([ids[3]], "road", "known already"), ([], "dog", "no region")):  # fmt: skip
        with pytest.raises(OwsegError, match=why):
            queue.rename(several, name)
    assert queue.accepted() == {"dgo": [ids[3]]}


def test_a_corrected_mask_of_another_size_is_named(queue, ids):
    log(queue, Action("accept", (ids[3],), "dog", Rle.of(np.ones((1, 1), bool))))
    with pytest.raises(OwsegError, match=r"the corrected mask of .* is not of the size of its image; correct it again"):
        queue.shots("dog")


def test_a_decision_about_no_region_is_damage(queue, ids):
    for region in (f"{ids[0][:16]}-4", "f" * 16 + "-1"):
        log(queue, Action("accept", (region,), "dog"))
        for read in (lambda: queue.images_of("dog"), lambda: queue.shots("dog")):
            with pytest.raises(OwsegError, match=r"queue.db is damaged"):
                read()
        assert queue.undo()


def test_a_region_may_be_of_a_known_class(queue, ids):
    queue.accept(ids[0], "dog")
    queue.mark_known(ids[:2], "road")
    found = queue.decisions()
    assert {(d.action, d.name, d.known) for d in found.values()} == {("known", None, "road")}
    assert list(found) == ids[:2] and queue.accepted() == {} and repr(found[ids[0]]) == "Decision(known as 'road')"
    for regions, name, why in (
        (ids[2], "dog", "'dog' is no known class; known are road, sky"), (ids[2], None, "no known class"),
        ([], "road", "no region"), ("x", "road", "names no"),
    ):  # fmt: skip
        with pytest.raises(OwsegError, match=why):
            queue.mark_known(regions, name)
    assert queue.undo() and queue.accepted() == {"dog": [ids[0]]}


def test_what_two_processes_did_at_once_is_no_damage(queue, ids):
    """Logs of 0.1.0 may hold such actions."""
    accept, undo = Action("accept", (ids[0],), "dog"), Action("undo")
    known, reject, rename = (Action(do, (ids[0],), "cat") for do in ("known", "reject", "rename"))
    for actions, accepted in (
        ([accept, undo, undo], {}),
        ([undo, accept], {"dog": [ids[0]]}),
        ([rename], {}),
        ([accept, undo, rename], {}),
        ([accept, reject, rename], {}),
        ([accept, known, rename], {}),
        ([rename, accept, rename], {"cat": [ids[0]]}),
    ):
        edit(queue, "DELETE FROM actions")
        log(queue, *actions)
        assert Queue.open(queue.folder).accepted() == accepted
    edit(queue, "DELETE FROM actions")
    log(queue, accept, undo, undo)
    assert not queue.undo()
    queue.accept(ids[1], "cow")
    assert queue.undo() and not queue.undo()


def test_no_action_of_several_processes_is_lost(queue, ids):
    def acting(process):
        for i in range(50):
            queue.accept(ids[process], f"class {process} {i}")

    assert in_children([partial(acting, process) for process in range(4)]) == [0] * 4
    for process in range(4):
        names = [action.name for action in queue.actions() if action.regions == (ids[process],)]
        assert names == [f"class {process} {i}" for i in range(50)]
    assert len(queue.decisions()) == 4


def test_of_several_processes_one_undoes_an_action(queue, ids, tmp_path):
    def undoing(process):
        undone = sum(queue.undo() for _ in range(20))
        (tmp_path / str(process)).write_text(str(undone))

    for i in range(10):
        queue.accept(ids[i % 4], "dog")
    assert in_children([partial(undoing, process) for process in range(4)]) == [0] * 4
    assert sum(int((tmp_path / str(process)).read_text()) for process in range(4)) == 10 and not queue.decisions()
    assert [action.do for action in queue.actions()] == ["accept"] * 10 + ["undo"] * 10


def test_the_check_and_the_action_are_one_step(queue, ids, monkeypatch):
    """A region that is rejected while it is being renamed: the one comes before the other."""
    queue.accept(ids[0], "dgo")
    rejecting = Thread(target=queue.reject, args=(ids[0],))
    decisions = Queue.decisions

    def slowly(self):
        found = decisions(self)
        if not rejecting.ident:
            rejecting.start()
            rejecting.join(0.2)
        return found

    monkeypatch.setattr(Queue, "decisions", slowly)
    queue.rename(ids[0], "dog")
    rejecting.join()
    assert [action.do for action in queue.actions()] == ["accept", "rename", "reject"]


def test_decisions_compare_hash_and_print(queue, ids):
    queue.accept(ids[3], "dog", square(9, 9, 3))
    (decision,) = queue.decisions().values()
    assert decision == queue.decisions()[ids[3]] and hash(decision) == hash(queue.decisions()[ids[3]])
    assert repr(decision) == "Decision(accept as 'dog', mask corrected)"


def test_reading_again_costs_what_was_added(queue, ids, monkeypatch):
    taken, take = [], Decisions._take

    def counting(self, action):
        taken.append(action.do)
        take(self, action)

    monkeypatch.setattr(Decisions, "_take", counting)
    other = Queue.open(queue.folder)
    for i in range(20):
        (queue if i % 2 else other).accept(ids[i % 4], f"class {i}")  # one writes, the other reads on
        assert len(queue.decisions()) == min(i + 1, 4) and len(taken) == i + 1
    queue.rename(ids[0], "dog")
    assert queue.undo() and queue.undo() and queue.decisions()[ids[3]].name == "class 15"
    assert taken == ["accept"] * 20 + ["rename", "undo", "undo"]
    assert Queue.open(queue.folder).decisions() == queue.decisions() == other.decisions()


def replayed(actions):
    """The decisions after ``actions``: those that were undone are left out, and the others made from the first on."""
    held = []
    for action in actions:
        if action.do != "undo":
            held.append(action)
        elif held:
            held.pop()
    found = {}
    for action in held:
        for region in action.regions if action.do != "move" else ():
            if action.do != "rename":
                found[region] = (action.do, action.name)
            elif found.get(region, ("", ""))[0] == "accept":
                found[region] = ("accept", action.name)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_what_is_read_on_is_what_is_read_anew(ids, seed):
    rng, actions, db, kept = np.random.default_rng(seed), [], in_memory(lambda db: None), Decisions(Path("queue.db"))
    for number in range(120):
        do = rng.choice(["accept", "accept", "reject", "known", "rename", "move", "undo", "undo"])
        regions = () if do == "undo" else tuple(rng.choice(ids, rng.integers(1, 4), replace=False).tolist())
        actions.append(Action(str(do), regions, None if do in ("undo", "reject", "move") else f"class {number}"))
        insert_action(db, actions[-1])
        found = {r: (d.action, d.name or d.known) for r, d in kept.read(db).items()}
        assert list(found.items()) == list(replayed(actions).items())
        assert kept.read(db) == Decisions(Path("queue.db")).read(db)


def test_a_log_that_takes_the_place_of_another_is_read_anew(queue, ids):
    for name in ("dog", "cat"):
        queue.accept(ids[0], name)
    path = queue.storage.path
    copy = path.read_bytes()
    queue.accept(ids[0], "hen")
    assert queue.undo() and queue.accepted() == {"cat": [ids[0]]}
    path.write_bytes(copy)  # somebody restored it
    queue.accept(ids[1], "cow")
    queue.accept(ids[1], "hen")  # as many actions as before
    assert queue.accepted() == {"cat": [ids[0]], "hen": [ids[1]]}
    path.write_bytes(copy)
    assert queue.accepted() == {"cat": [ids[0]]}
    assert queue.undo() and queue.accepted() == {"dog": [ids[0]]}
