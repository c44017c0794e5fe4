"""A database that cannot be read or written ends in one sentence, and nothing that was confirmed is lost."""

import os
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from owseg.discovery import database
from owseg.discovery.queue import Queue
from owseg.errors import OwsegError
from tests.support.folders import contents
from tests.support.killing import in_child
from tests.support.queues import IDS, edit, make
from tools.storm import disk_full

READERS = (lambda q: Queue.open(q.folder), Queue.groups, Queue.decisions, Queue.image_ids, Queue.stamp, Queue.actions,
           lambda q: q.entry(IDS[0][:16]), lambda q: q.summary(IDS[0][:16]), lambda q: q.chosen("dog"))  # fmt: skip
WRITERS = (lambda q: q.reject(IDS[0]), Queue.undo, lambda q: q.rename(IDS[1], "cow"), lambda q: q.write_groups([]),
           lambda q: q.choose("dog", [IDS[1][:16]]))  # fmt: skip


@pytest.fixture
def decided(queue):
    queue.accept(IDS[1], "dog")
    return queue


def refused(act, queue, words):
    with pytest.raises(OwsegError, match=words) as error:
        act(queue)
    assert str(queue.storage.path) in str(error.value) and "\n" not in str(error.value) and str(error.value)[-1] == "."


def test_a_database_of_others_is_refused(decided):
    path = decided.storage.path
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (address)")
        db.commit()
    for data in (path.read_bytes(), b""):
        path.write_bytes(data)
        for act in (*READERS, *WRITERS):
            refused(act, decided, "is no database of a queue")
        assert path.read_bytes() == data


@pytest.mark.parametrize("number", [0, 1, 3, 2**31 - 1, -1])
def test_a_database_of_another_format_is_refused(decided, number):
    edit(decided, f"PRAGMA user_version = {number}")
    for act in (*READERS, *WRITERS):
        refused(act, decided, f"queue.db is of format {number}; this owseg reads format 2")


@pytest.mark.parametrize(
    "sql",
    ["DROP TABLE shots", "CREATE TABLE other (x)", "DROP INDEX summaries", "ALTER TABLE shots RENAME TO others",
     "ALTER TABLE queue ADD COLUMN x", "CREATE VIEW v AS SELECT 1",
     "CREATE TRIGGER t AFTER INSERT ON actions BEGIN DELETE FROM actions; END"],
)  # fmt: skip
def test_no_table_view_or_trigger_of_others_is_used(decided, sql):
    edit(decided, sql)
    for act in (*READERS, *WRITERS):
        refused(act, decided, "queue.db is damaged")


def test_what_is_no_database_is_refused(decided):
    path = decided.storage.path
    whole = path.read_bytes()
    for data in (b"no database", b"\0" * 4096, b"SQLite format 3\0" + b"\xff" * 5000, whole[:5000], whole[:100]):
        path.write_bytes(data)
        for act in (READERS[0], WRITERS[0]):
            refused(act, decided, "queue.db is (damaged|no database of a queue)")


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_page_is_damage_or_harmless(decided, seed):
    path = decided.storage.path
    whole = path.read_bytes()
    for page in range(1, len(whole) // 4096):
        at = 4096 * page + (0, 1, 8, 4090)[seed]
        path.write_bytes(whole[:at] + b"\xff" * 6 + whole[at + 6 :])
        for act in READERS:
            try:
                act(decided)
            except OwsegError as error:
                assert "queue.db is damaged" in str(error) or "names no image" in str(error)


def test_pages_that_are_named_again_and_again_are_not_read_for_ever(decided):
    """Three pages above that of the groups' members, each of which names the next 500 times: 500 million members."""
    path = decided.storage.path
    with closing(sqlite3.connect(path)) as db:
        ((root,),) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'members'")
    data, at = bytearray(path.read_bytes()), 4096 * (root - 1)
    leaf, next_page, pages = data[at : at + 4096], len(data) // 4096 + 1, []
    for child in range(next_page, next_page + 3):
        cells = struct.pack(">IB", child, 1) * 500
        places = struct.pack(">500H", *range(4096 - len(cells), 4096, 5))
        head = struct.pack(">BHHHBI", 5, 0, 500, 4096 - len(cells), 0, child) + places
        pages.append(head.ljust(4096 - len(cells), b"\0") + cells)
    data[at : at + 4096], data[28:32] = pages[0], struct.pack(">I", next_page + 2)
    path.write_bytes(bytes(data) + pages[1] + pages[2] + bytes(leaf))
    with closing(sqlite3.connect(path)) as db:
        members = db.execute("SELECT * FROM members")
        assert len(members.fetchmany(5000)) == 5000  # which SQLite does not mind
    refused(Queue.groups, decided, r"queue.db is damaged")


def test_a_reader_waits_for_nobody_and_a_writer_for_the_others(decided, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 0.1)
    with closing(sqlite3.connect(decided.storage.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM actions")
        for act in READERS:
            act(decided)
        assert list(decided.decisions()) == [IDS[1]]
        for act in WRITERS:
            refused(act, decided, r"cannot be written \(database is locked\); another process has been writing")
    decided.reject(IDS[0])
    assert list(decided.decisions()) == [IDS[1], IDS[0]]


@pytest.mark.parametrize("act", range(len(WRITERS)))
def test_a_full_disk_leaves_what_was_there(decided, act):
    before, whole = decided.groups(), decided.storage.path.read_bytes()
    actions, size = decided.actions(), len(whole)
    for room in range(0, size + 40_000, 7000):
        with disk_full(room):
            try:
                WRITERS[act](decided)
            except OwsegError as error:
                assert "queue.db cannot be written (" in str(error) and "free some space" in str(error)
            else:
                break
        assert Queue.open(decided.folder).actions() == actions and decided.groups() == before
    else:
        pytest.fail("it was never written")
    assert room > 30_000 or len(Queue.open(decided.folder).actions()) > len(actions)
    changed = Queue.open(decided.folder)
    assert changed.actions() != actions or changed.groups() != before or changed.chosen("dog")


def test_on_a_full_disk_a_queue_is_read(decided):
    before = contents(decided.folder)
    with disk_full(0):
        for act in READERS:
            act(decided)
        assert list(Queue.open(decided.folder).decisions()) == [IDS[1]]
    after = contents(decided.folder)
    assert {name: after[name] for name in before} == before and not any(after[name] for name in {*after} - {*before})


def test_a_folder_that_may_not_be_written_is_read():
    with TemporaryDirectory() as folder:  # pytest's own may be entered by its user alone
        Path(folder).chmod(0o755)
        queue = make(Path(folder))
        queue.accept(IDS[1], "dog")
        before = contents(queue.folder)
        for path in (queue.folder, *queue.folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)

        def use():
            if os.geteuid() == 0:  # root may write anywhere
                os.setgid(65534)
                os.setuid(65534)
            assert list(Queue.open(queue.folder).decisions()) == [IDS[1]]
            for act in READERS:
                act(queue)
            for act in WRITERS:
                refused(act, queue, r"cannot be written \(.*\); check its permissions")

        assert in_child(use) == 0
        assert contents(queue.folder) == before
        queue.folder.chmod(0o755)


def test_a_queue_is_not_begun_among_other_files(tmp_path, queue):
    for place in (tmp_path, tmp_path / "photos" / "p0.png"):
        with pytest.raises(OwsegError, match="exists and is not a queue; give --out a new or empty folder"):
            Queue.begin(place, queue.info)
    assert not (tmp_path / "queue.db").exists()
    (tmp_path / "left" / ".x.part").mkdir(parents=True)  # of a run that was killed
    assert Queue.begin(tmp_path / "left", queue.info).info == queue.info
    with pytest.raises(OwsegError, match="has no groups yet; run `owseg discover` again"):
        Queue.open(tmp_path / "left").groups()
    with pytest.raises(OwsegError, match="is not a queue; make one"):
        Queue.open(tmp_path)
    with disk_full(10_000), pytest.raises(OwsegError, match=r"queue.db cannot be written"):
        Queue.begin(tmp_path / "full", queue.info)
    assert not [path for path in (tmp_path / "full").iterdir() if path.name != ".lock"]
    assert Queue.begin(tmp_path / "full", queue.info).image_ids() == []


def test_a_name_is_a_name_whatever_is_in_it(tmp_path, queue):
    """In an address of SQLite some characters mean something."""
    for name in ("a?mode=ro#x", "b%20c", "d'e\"f", "é\udcff"):
        one = Queue.begin(tmp_path / name, queue.info)
        assert one.storage.path.is_file() and Queue.open(tmp_path / name).info == queue.info
