"""Who did what, and when, is told by the log; nothing in it changes."""

import getpass
from datetime import datetime, timedelta, timezone

import pytest

from owseg.data.masks import Rle
from owseg.discovery.log import Action, class_name
from owseg.errors import OwsegError
from owseg.labels import MAX_NAME
from tests.support.queues import edit, square


def test_the_log_says_who_did_what_and_when(queue, ids, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    mask = square(9, 9, 3)
    queue.accept(ids[3], "dog", mask)
    queue.rename(ids[3], "hound")
    queue.reject(ids[:2])
    monkeypatch.setattr(getpass, "getuser", lambda: {}["of nobody"])
    queue.mark_known(ids[2], "sky")
    assert queue.undo()
    found = queue.actions()
    assert [(a.user, a.do, a.regions, a.name, a.mask) for a in found] == [
        ("ada", "accept", (ids[3],), "dog", Rle.of(mask)), ("ada", "rename", (ids[3],), "hound", None),
        ("ada", "reject", tuple(ids[:2]), None, None), ("", "known", (ids[2],), "sky", None),
        ("", "undo", (), None, None),
    ]  # fmt: skip
    times = [datetime.fromisoformat(action.time) for action in found]
    assert times == sorted(times) and datetime.now(timezone.utc) - times[0] < timedelta(hours=1)
    queue.accept(ids[0], "cat")
    assert queue.actions()[:-1] == found  # an action changes none that was there


@pytest.mark.parametrize(
    "column, value",
    [("do", "sell"), ("do", None), ("do", b"\xff"), ("regions", "../x-1"), ("regions", None), ("regions", 7),
     ("name", b"x" * 99), ("name", "text"), ("name", None), ("name", b"\xff"), ("mask", b"\xff"), ("mask", "xx"),
     ("mask", b""), ("height", None), ("height", -1), ("width", 2**40), ("width", "wide")],
)  # fmt: skip
def test_a_damaged_log_is_refused(queue, ids, column, value):
    queue.accept(ids[3], "dog", square(9, 9, 3))
    edit(queue, f"UPDATE actions SET {column} = ?", value)
    for read in (queue.decisions, queue.actions, queue.undo, lambda: queue.rename(ids[3], "cat")):
        with pytest.raises(OwsegError, match=r"queue.db is damaged"):
            read()


def test_what_nobody_could_have_done_is_no_action(ids):
    for wrong in (
        ("sell",),
        ("reject", ("x",)),
        ("accept", (ids[0],), ""),
        ("known", (ids[0],)),
        ("rename", (), "a\nb"),
    ):
        with pytest.raises(ValueError, match=r"no action|not a class name"):
            Action(*wrong)


def test_class_names_are_plain_text():
    assert class_name(" scooter, blue ") == "scooter, blue" and class_name("Fußgänger") == "Fußgänger"
    assert class_name("x" * MAX_NAME)
