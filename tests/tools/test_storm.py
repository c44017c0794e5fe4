"""A small storm breaks no promise, and each kind of broken promise is noticed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from owseg.knowledge.commit import rollback_version
from owseg.knowledge.event import Event
from owseg.knowledge.load import load
from tests.support import queues, tiny
from tests.support.versions import spoil
from tools import storm

if sys.platform == "win32":
    pytest.skip("nothing is stored on Windows", allow_module_level=True)


def test_a_small_storm_breaks_no_promise(tmp_path: Path) -> None:
    counts, broken = storm.storm(tmp_path, 5, seed=0)
    assert not broken, broken
    assert counts["kill"] and counts["accept"] and counts["rollback"]


def made(place: Path) -> list[dict[str, Any]]:
    """Versions 1 to 3 in a row, 4 from 1 after a rollback; return what was announced."""
    tiny.calibrated().save(place)
    announced: list[dict[str, Any]] = []
    for number in (2, 3, 4):
        if number == 4:
            announced.append({"did": "try to roll back", "token": "t", "to": 1, "before": 3})
            rollback_version(place, 1)
            announced.append({"did": "rollback", "token": "t", "after": 3})
        load(place).after(Event("learn", f"step {number}")).save(place)
        announced.append({"did": "learn", "version": number, "event": f"step {number}"})
    return announced


def test_what_is_as_promised_passes(tmp_path: Path) -> None:
    announced = made(tmp_path / "kb")
    assert not storm.check_current(tmp_path / "kb") and not storm.check_versions(tmp_path / "kb", announced)


def test_a_broken_promise_about_a_version_is_noticed(tmp_path: Path) -> None:
    kb, announced = tmp_path / "kb", made(tmp_path / "kb")

    def says(words: str, announced: list[dict[str, Any]]) -> None:
        assert any(words in text for text in storm.check_versions(kb, announced))

    without = [what for what in announced if "token" not in what]
    says("after version 3 came something made from 1", without)
    says("promised to hold 'other'", [{**what, "event": "other"} for what in announced if "event" in what])
    says("version 9 was promised", [*announced, {"did": "learn", "version": 9, "event": "step 9"}])
    says("the same version", [*announced, announced[0]])
    rollback_version(kb, 2)  # which nobody announced
    says("after version 4 came something made from 2", announced)
    spoil(kb / "0002" / "knowledge.json", b"{}")
    says("0002", announced)
    assert storm.check_current(kb)


def test_a_false_parent_is_noticed() -> None:
    order: dict[int, int | None] = {1: None, 2: 1, 3: 2, 4: 2}
    both, undone = {2, 3, 4}, {"did": "try to roll back", "token": "t", "to": 2, "before": 3}
    assert storm.check_order(order, both, 4, []) == ["after version 3 came something made from 2, not from one of {3}"]
    assert not storm.check_order(order, {2, 4}, 4, [])  # 3 was never current: its writer was killed
    assert not storm.check_order(order, both, 4, [undone])
    lost = [{**undone, "to": 1}, {"did": "rollback", "token": "t", "after": 3}]
    assert storm.check_order({1: None, 2: 1, 3: 2, 4: 3}, both, 4, lost)  # a rollback that had no effect
    # After a rollback to 1, version 3 was never current; 4 is made from what was.
    back = [{**undone, "to": 1, "before": 2}, {"did": "rollback", "token": "t", "after": 2}]
    assert not storm.check_order({1: None, 2: 1, 3: 1, 4: 1}, {2, 4}, 4, back)
    assert storm.check_order({1: None, 2: 1, 3: 1, 4: 2}, {2, 4}, 4, back)
    assert storm.check_order({1: None, 2: 1, 3: 2}, {2, 3}, 2, [])  # somebody's version is hidden in the end


def test_a_lost_decision_is_noticed(tmp_path: Path) -> None:
    queue = queues.make(tmp_path)
    queue.accept(queues.IDS[0], "one")
    queue.undo()
    said = [{"did": "accept", "token": "one"}, {"did": "undo"}]
    assert not storm.check_decisions(queue.folder, said)
    assert storm.check_decisions(queue.folder, [*said, {"did": "accept", "token": "two"}])[0].startswith("two was prom")
    assert storm.check_decisions(queue.folder, [*said, {"did": "undo"}])[0].startswith("2 x undo was promised")
    queues.edit(queue, "UPDATE groups SET priority = 'high'")
    assert storm.check_decisions(queue.folder, said)


def test_a_full_disk_stops_a_write_in_its_middle(tmp_path: Path) -> None:
    with pytest.raises(OSError), storm.disk_full(1000):
        (tmp_path / "file").write_bytes(bytes(5000))
    assert 0 < (tmp_path / "file").stat().st_size <= 1000
    (tmp_path / "file").write_bytes(bytes(5000))
