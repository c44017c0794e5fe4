import json
from functools import partial
from threading import Thread

import numpy as np
import pytest

from owseg.discovery.decisions import Decisions, class_name
from owseg.discovery.queue import Queue
from owseg.errors import OwsegError
from owseg.labels import MAX_NAME
from tests.support.killing import in_children
from tests.support.queues import square


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
    log = queue.folder / "decisions.jsonl"
    log.write_text(json.dumps({"do": "accept", "regions": [ids[3]], "name": "dog",
                               "mask": {"size": [1, 1], "counts": [0, 1]}}) + "\n")  # fmt: skip
    with pytest.raises(OwsegError, match=r"decisions.jsonl is damaged"):
        queue.shots("dog")


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


def test_a_damaged_log_is_refused(queue, ids):
    log = queue.folder / "decisions.jsonl"
    for line in ('{"do": "accept", "regions": ["../x-1"], "name": "dog"}', '{"undo": 1}', "[]", '{"do": "sell"}',
                 f'{{"do": "accept", "regions": ["{ids[0]}"], "name": "{"x" * 99}"}}'):  # fmt: skip
        log.write_text(line + "\n")
        with pytest.raises(OwsegError, match=r"decisions.jsonl is damaged"):
            queue.decisions()
    log.write_text('{"do": ' + "[" * 100_000 + "\n")
    with pytest.raises(OwsegError, match=r"decisions.jsonl is damaged"):
        queue.decisions()
    log.write_text(json.dumps({"do": "accept", "regions": [ids[0]], "name": "dog", "mask": {"counts": [3]}}) + "\n")
    with pytest.raises(OwsegError, match=r"decisions.jsonl is damaged"):
        queue.decisions()


def test_what_two_processes_did_at_once_is_no_damage(queue, ids):
    """Logs of 0.1.0 may hold such lines."""
    log = queue.folder / "decisions.jsonl"
    accept = {"do": "accept", "regions": [ids[0]], "name": "dog"}
    rename = {**accept, "do": "rename", "name": "cat"}
    undo, reject = {"do": "undo", "regions": []}, {"do": "reject", "regions": [ids[0]], "name": "none"}
    for lines, accepted in (
        ([accept, undo, undo], {}),
        ([undo, accept], {"dog": [ids[0]]}),
        ([rename], {}),
        ([accept, undo, rename], {}),
        ([accept, reject, rename], {}),
        ([accept, {**accept, "do": "known"}, rename], {}),
        ([rename, accept, rename], {"cat": [ids[0]]}),
    ):
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert queue.accepted() == accepted
    log.write_text("".join(json.dumps(line) + "\n" for line in (accept, undo, undo)))
    assert not queue.undo()
    queue.accept(ids[1], "cow")
    assert queue.undo() and not queue.undo()


def test_no_action_of_several_processes_is_lost(queue, ids):
    def acting(process):
        for i in range(50):
            queue.accept(ids[process], f"class {process} {i}")

    assert in_children([partial(acting, process) for process in range(4)]) == [0] * 4
    lines = [json.loads(line) for line in (queue.folder / "decisions.jsonl").read_text().splitlines()]
    for process in range(4):
        names = [line["name"] for line in lines if line["regions"] == [ids[process]]]
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
    assert len((queue.folder / "decisions.jsonl").read_text().splitlines()) == 20


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
    lines = (queue.folder / "decisions.jsonl").read_text().splitlines()
    assert [json.loads(line)["do"] for line in lines] == ["accept", "rename", "reject"]


def test_a_log_has_a_bounded_size(queue, ids, monkeypatch):
    queue.accept(ids[0], "dog")
    log = queue.folder / "decisions.jsonl"
    before = log.read_bytes()
    monkeypatch.setattr("owseg.discovery.decisions.MAX_LOG", len(before) + 9)
    with pytest.raises(OwsegError, match=r"decisions.jsonl cannot be written \(it would have more than"):
        queue.accept(ids[1], "dog")
    assert log.read_bytes() == before and len(queue.decisions()) == 1
    monkeypatch.setattr("owseg.discovery.decisions.MAX_LOG", 1 << 20)
    log.write_bytes(b" " * (1 << 21))
    with pytest.raises(OwsegError, match="more than 1 MiB"):
        queue.decisions()


def test_a_torn_decision_was_never_made(queue, ids):
    queue.accept(ids[0], "dog")
    queue.accept(ids[3], "cat")
    log = queue.folder / "decisions.jsonl"
    whole = log.read_bytes()
    for cut in range(1, len(whole.splitlines()[-1]), 20):
        log.write_bytes(whole[:-cut])
        assert queue.accepted() == {"dog": [ids[0]]}
    queue.reject(ids[1])
    assert list(queue.decisions()) == [ids[0], ids[1]]


def test_decisions_compare_hash_and_print(queue, ids):
    queue.accept(ids[3], "dog", square(9, 9, 3))
    (decision,) = queue.decisions().values()
    assert decision == queue.decisions()[ids[3]] and hash(decision) == hash(queue.decisions()[ids[3]])
    assert repr(decision) == "Decision(accept as 'dog', mask corrected)"


def test_an_action_that_cannot_be_written_is_refused(queue, ids, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    queue.accept(ids[0], "dog")
    monkeypatch.setattr("owseg.discovery.decisions.os.fsync", full)
    with pytest.raises(OwsegError, match=r"decisions.jsonl cannot be written \(no space left on device\)"):
        queue.reject(ids[0])
    assert queue.accepted() == {"dog": [ids[0]]}  # what was refused does not come back later


def test_class_names_are_plain_text():
    assert class_name(" scooter, blue ") == "scooter, blue" and class_name("Fußgänger") == "Fußgänger"
    assert class_name("x" * MAX_NAME)


def test_reading_again_costs_what_was_added(queue, ids, monkeypatch):
    taken, take = [], Decisions._take

    def counting(self, action):
        taken.append(action["do"])
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
        if action["do"] != "undo":
            held.append(action)
        elif held:
            held.pop()
    found = {}
    for action in held:
        for region in action["regions"]:
            if action["do"] != "rename":
                found[region] = (action["do"], action.get("name"))
            elif found.get(region, ("", ""))[0] == "accept":
                found[region] = ("accept", action["name"])
    return found


@pytest.mark.parametrize("seed", range(5))
def test_what_is_read_on_is_what_is_read_anew(queue, ids, seed):
    rng, actions = np.random.default_rng(seed), []
    for number in range(120):
        do = rng.choice(["accept", "accept", "reject", "known", "rename", "undo", "undo"])
        regions = [] if do == "undo" else rng.choice(ids, rng.integers(1, 4), replace=False).tolist()
        action = {"do": str(do), "regions": regions}
        actions.append(action if do in ("undo", "reject") else {**action, "name": f"class {number}"})
        with (queue.folder / "decisions.jsonl").open("a") as log:
            log.write(json.dumps(actions[-1]) + "\n")
        found = {r: (d.action, d.name or d.known) for r, d in queue.decisions().items()}
        assert list(found.items()) == list(replayed(actions).items())
        assert queue.decisions() == Queue.open(queue.folder).decisions()


def test_a_log_that_takes_the_place_of_another_is_read_anew(queue, ids):
    for name in ("dog", "cat"):
        queue.accept(ids[0], name)
    log = queue.folder / "decisions.jsonl"
    assert queue.undo() and queue.accepted() == {"dog": [ids[0]]}
    other = log.read_text().replace("dog", "cow")
    log.with_name("other").write_text(other)  # of the same length, and its last line is the same
    log.with_name("other").replace(log)
    assert queue.accepted() == {"cow": [ids[0]]}
    log.write_text("")
    assert queue.decisions() == {} and not queue.undo()
    log.unlink()
    assert queue.decisions() == {}
