import json

import numpy as np
import pytest

from owseg.discovery.decisions import MAX_NAME, class_name
from owseg.errors import OwsegError
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
    log.write_text(json.dumps({"do": "rename", "regions": [ids[1]], "name": "dog"}) + "\n")
    with pytest.raises(OwsegError, match=r"decisions.jsonl is damaged"):
        queue.decisions()
    log.write_text(json.dumps({"do": "accept", "regions": [ids[3]], "name": "dog",
                               "mask": {"size": [1, 1], "counts": [0, 1]}}) + "\n")  # fmt: skip
    with pytest.raises(OwsegError, match=r"decisions.jsonl is damaged"):
        queue.shots("dog")


def test_a_damaged_log_is_refused(queue, ids):
    log = queue.folder / "decisions.jsonl"
    for line in ('{"do": "accept", "regions": ["../x-1"], "name": "dog"}', '{"do": "undo"}', "[]", '{"do": "sell"}',
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

    monkeypatch.setattr("owseg.discovery.decisions.os.fsync", full)
    with pytest.raises(OwsegError, match=r"decisions.jsonl cannot be written \(no space left on device\)"):
        queue.accept(ids[0], "dog")


def test_class_names_are_plain_text():
    assert class_name(" scooter, blue ") == "scooter, blue" and class_name("Fußgänger") == "Fußgänger"
    assert class_name("x" * MAX_NAME)
