"""A queue of format 1 is read as it is, and is converted whole by the first who writes."""

import json

import numpy as np
import pytest

from owseg.discovery import old_layout
from owseg.discovery.queue import Queue
from owseg.errors import OwsegError
from tests.support.folders import contents
from tests.support.killing import in_child, in_children, left_by_kills, put
from tests.support.old_queues import CORRECTED, TIME, write
from tests.support.queues import IDS, SIZE, holds, make
from tools.storm import disk_full

FIRST, SECOND = IDS[0][:16], IDS[3][:16]


@pytest.fixture
def old(tmp_path):
    return write(tmp_path)


def all_of(queue):
    """All that a queue says, as plain values."""
    entries = [queue.entry(i) for i in queue.image_ids()]
    images = [(e.id, e.name, e.sha256, e.size, e.unknown, [(*vars(r).values(),) for r in e.regions]) for e in entries]
    summaries = [queue.summary(e.id) for e in entries]
    pixels = [queue.image(e.id).tolist() for e in entries]
    decided = queue.groups(), list(queue.decisions().items()), queue.actions(), queue.chosen("dog"), queue.chosen("cat")
    return repr((queue.info, images, summaries, pixels, decided, [s.positives.sum() for s in queue.shots("dog")]))


def test_an_old_queue_is_read_without_a_change(old):
    before = contents(old.folder)
    assert old.info.classes == ("road", "sky") and old.image_ids() == sorted((FIRST, SECOND))
    assert [g.priority for g in old.groups()] == [2.5, 1] and old.groups()[0].copies == {IDS[0]: (IDS[1],)}
    found = old.decisions()
    assert {r: (d.action, d.name) for r, d in found.items()} == {
        IDS[0]: ("accept", "dog"), IDS[1]: ("accept", "dgo"), IDS[3]: ("accept", "dog"), IDS[2]: ("reject", None),
    }  # fmt: skip
    assert np.array_equal(found[IDS[3]].mask.mask(), CORRECTED) and old.chosen("dog") == [SECOND]
    assert [(a.do, a.time, a.user) for a in old.actions()[2:4]] == [("rename", TIME, ""), ("reject", "", "")]
    assert old.thumbnail(IDS[0]).read_bytes() == b"jpeg" and all_of(old)
    assert contents(old.folder) == before


def test_it_is_what_would_be_stored_today(old, tmp_path):
    new = make(tmp_path / "new")
    for image_id in new.image_ids():
        ours, theirs = new.entry(image_id), old.entry(image_id)
        assert (ours.unknown, ours.size, ours.sha256) == (theirs.unknown, theirs.size, theirs.sha256)
        for a, b in zip(ours.regions, theirs.regions, strict=True):
            assert {**vars(a), "embedding": 0} == {**vars(b), "embedding": 0}
            assert np.array_equal(a.embedding, b.embedding)


def test_the_first_to_write_converts_it_whole(old):
    before, kept = all_of(old), old.thumbnail(IDS[0])
    (old.folder / "pictures" / "notes.txt").write_text("mine")
    watching = Queue.open(old.folder)
    assert watching.decisions() and old.storage.reading()
    old.accept(IDS[2], "cat")
    left = {str(p.relative_to(old.folder)) for p in old.folder.rglob("*") if p.is_file()}
    assert left == {"queue.db", ".lock", "pictures/notes.txt", *(f"thumbnails/{i}.jpg" for i in IDS)}
    assert watching.accepted() == {"dog": [IDS[0], IDS[3]], "dgo": [IDS[1]], "cat": [IDS[2]]}
    assert old.undo() and kept.is_file()
    again = Queue.open(old.folder)
    assert [a.do for a in again.actions()] == [
        "accept",
        "accept",
        "rename",
        "reject",
        "known",
        "undo",
        "accept",
        "undo",
    ]
    with again.storage.writing() as db:
        db.execute("DELETE FROM actions WHERE id > 6")
    assert all_of(Queue.open(old.folder)) == before


@pytest.mark.parametrize("act", [Queue.undo, lambda q: q.reject(IDS[0])])
def test_a_conversion_that_is_killed_is_done_or_not_begun(old, tmp_path, act):
    before, folder = all_of(old), old.folder
    left = left_by_kills(lambda: act(Queue.open(folder)), folder)
    after = all_of(Queue.open(folder))
    assert before != after and len(left) > 6
    for files in left:
        again = Queue.open(put(tmp_path / "left", files))
        assert all_of(again) in (before, after)
        if all_of(again) == before:
            act(Queue.open(again.folder))
            assert all_of(again)[:-500] == after[:-500]
        assert (again.folder / "queue.db").exists() and not (again.folder / "queue.json").exists()


def test_a_conversion_that_fails_leaves_the_old_files(old):
    path = old.folder / "pictures" / f"{SECOND}.json"
    whole = path.read_text()
    path.write_text(whole[:-9])
    before = contents(old.folder)
    with pytest.raises(OwsegError, match=rf"{SECOND}.json is damaged"):
        old.reject(IDS[0])
    path.write_text(whole)
    for room in range(0, 70_000, 10_000):
        with disk_full(room):
            try:
                old.reject(IDS[0])
                break
            except OwsegError as error:
                assert "queue.db cannot be written" in str(error)
        after = contents(old.folder)
        assert after.pop(".lock") == b"" and ((old.folder / "queue.db").exists() or {*after} == {*before})
    assert room > 20_000 and [a.do for a in Queue.open(old.folder).actions()][-1] == "reject"


def test_of_several_who_convert_at_once_each_is_heard(old):
    def act(process):
        Queue.open(old.folder).accept(IDS[process], f"class {process}")

    assert in_children([lambda process=process: act(process) for process in range(4)]) == [0] * 4
    assert sorted(a.name for a in old.actions()[6:]) == [f"class {process}" for process in range(4)]
    assert set(old.accepted()) == {f"class {process}" for process in range(4)}


@pytest.mark.parametrize("when", ["read_info", "fill"])
def test_one_that_is_converted_while_it_is_read_is_read_anew(old, monkeypatch, when):
    """Another process removes the old files just before they are read, or some of them."""
    expected, real = [g.regions for g in old.groups()], getattr(old_layout, when)

    def late(*given):
        monkeypatch.setattr(old_layout, when, real)
        Queue.open(old.folder).undo()
        if when == "fill":  # of which the first file to be read is still there
            (old.folder / "queue.json").write_text(json.dumps(info))
        return real(*given)

    info = json.loads((old.folder / "queue.json").read_text())
    monkeypatch.setattr(old_layout, when, late)
    assert [g.regions for g in Queue.open(old.folder).groups()] == expected


def test_what_was_left_of_the_old_files_is_removed(old):
    files = contents(old.folder)
    old.reject(IDS[0])
    rest = {name: data for name, data in files.items() if not name.startswith("thumbnails")}
    for name, data in rest.items():
        (old.folder / name).parent.mkdir(exist_ok=True)
        (old.folder / name).write_bytes(data)
    before = holds(old.folder)["actions"]
    assert Queue.open(old.folder).actions()[-1].do == "reject"  # the database is what counts
    old.undo()
    assert holds(old.folder)["actions"][:-1] == before and not {*contents(old.folder)} & {*rest}


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def to(key, value):
    return lambda v: v.__setitem__(key, value)


@pytest.mark.parametrize(
    "change",
    [
        to("name", "../p0.png"), to("name", "/etc/passwd"), to("name", "a/../../p0.png"), to("name", ""),
        to("name", 7), to("name", "p1.png"), to("size", [1, 2]), to("size", "big"), to("size", [0, 0]),
        to("regions", []), to("regions", {}), to("unknown", {"size": list(SIZE), "counts": [1]}),
        to("format", 99), lambda v: v.pop("sha256"), lambda v: v["regions"][0]["mask"].update(counts=[2**40]),
        lambda v: v["regions"][0].update(area=1), lambda v: v["regions"][0].update(box=[1]),
        lambda v: v["regions"][0].update(core=v["regions"][1]["mask"]),
        lambda v: v["regions"][0].update(distance="far"),
    ],
)  # fmt: skip
def test_a_tampered_image_is_refused(old, change):
    path = old.folder / "pictures" / f"{FIRST}.json"
    edit(path, change)
    for act in (lambda q: q.entry(FIRST), lambda q: q.reject(IDS[3])):
        with pytest.raises(OwsegError, match=r"is damaged|is of format") as error:
            act(Queue.open(old.folder))
        assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        to("root", "photos"), to("root", "../photos"), to("root", 3), to("format", "1"), to("classes", 5),
        to("extra", 1), to("min_area", "all"), lambda v: v.pop("kb"),
    ],
)  # fmt: skip
def test_a_tampered_queue_is_refused(old, change):
    edit(old.folder / "queue.json", change)
    with pytest.raises(OwsegError, match=r"queue.json is (damaged|of format)"):
        Queue.open(old.folder)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": 1}', b"[" * 100_000])
@pytest.mark.parametrize("name", ["queue.json", "groups.json", f"pictures/{FIRST}.json"])
def test_a_damaged_file_is_named(old, text, name):
    path = old.folder / name
    path.write_bytes(text)
    with pytest.raises(OwsegError, match="damaged") as error:
        Queue.open(old.folder).groups()
    assert str(path) in str(error.value)


HUGE = b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999, 9999999)}"
"""The header of an array that no memory holds."""


def test_tampered_embeddings_are_refused(old):
    path = old.folder / "pictures" / f"{FIRST}.npy"

    def refused():
        with pytest.raises(OwsegError, match=r"npy is damaged"):
            Queue.open(old.folder).image_ids()

    np.save(path, np.array([{}, {}, {}], object), allow_pickle=True)
    refused()
    headers = (HUGE, b"{'descr': (", b"if 1:\n    a\n  b")  # too much memory; open at its end; no Python
    for wrong in (b"PK\x03\x04 no archive", *(b"\x93NUMPY\x01\x00F\x00" + h.ljust(69) + b"\n" for h in headers)):
        path.write_bytes(wrong)
        refused()
    for array in (np.full((3, 2), np.nan, np.float32), np.ones((2, 2), np.float32)):
        np.save(path, array)
        with pytest.raises(OwsegError, match=r"(npy|json) is damaged"):
            Queue.open(old.folder).image_ids()
    path.unlink()
    refused()


@pytest.mark.parametrize(
    "line",
    ['{"do": "accept", "regions": ["../x-1"], "name": "dog"}', '{"undo": 1}', "[]", '{"do": "sell"}',
     f'{{"do": "accept", "regions": ["{IDS[0]}"], "name": "{"x" * 99}"}}', '{"do": ' + "[" * 100_000,
     f'{{"do": "accept", "regions": ["{IDS[0]}"], "name": "dog", "mask": {{"counts": [3]}}}}'],
)  # fmt: skip
def test_a_damaged_log_is_refused(old, line):
    (old.folder / "decisions.jsonl").write_text(line + "\n")
    with pytest.raises(OwsegError, match=r"decisions.jsonl is damaged"):
        Queue.open(old.folder).decisions()


@pytest.mark.parametrize("text", ["[", "[]", "[" * 100_000, '{"dog": 5}'])
def test_damaged_shots_are_refused(old, text):
    (old.folder / "shots.json").write_text(text)
    with pytest.raises(OwsegError, match=r"shots.json is damaged; delete it"):
        Queue.open(old.folder).decisions()


def test_what_was_never_written_is_not_missing(old):
    for name in ("groups.json", "decisions.jsonl", "shots.json"):
        (old.folder / name).unlink()
    queue = Queue.open(old.folder)
    assert queue.decisions() == {} and queue.chosen("dog") == []
    for _ in range(2):
        with pytest.raises(OwsegError, match="has no groups yet"):
            queue.groups()
        queue.reject(IDS[0])


def test_a_forked_process_reads_an_old_queue_too(old):
    old.decisions()
    assert in_child(lambda: old.reject(IDS[1])) == 0
    assert old.decisions()[IDS[1]].action == "reject"
