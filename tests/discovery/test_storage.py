import json

import numpy as np
import pytest

from owseg._files import MAX_TEXT
from owseg.discovery.queue import Queue
from owseg.discovery.storage import IMAGES, Group
from owseg.errors import OwsegError
from tests.support.queues import SIZE

HUGE = b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999, 9999999)}"
"""The header of an array that no memory holds."""


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def put(key, value):
    return lambda v: v.__setitem__(key, value)


@pytest.mark.parametrize(
    "change",
    [
        put("name", "../p0.png"), put("name", "/etc/passwd"), put("name", "a/../../p0.png"), put("name", ""),
        put("name", 7), put("name", "p1.png"), put("size", [1, 2]), put("size", "big"), put("size", [0, 0]),
        put("regions", []), put("regions", {}), put("unknown", {"size": list(SIZE), "counts": [1]}),
        put("format", 99), lambda v: v.pop("sha256"), lambda v: v["regions"][0]["mask"].update(counts=[2**40]),
        lambda v: v["regions"][0].update(area=1), lambda v: v["regions"][0].update(box=[1]),
        lambda v: v["regions"][0].update(core=v["regions"][1]["mask"]),
        lambda v: v["regions"][0].update(distance="far"),
    ],
)  # fmt: skip
def test_a_tampered_image_is_refused(queue, ids, change):
    path = queue.folder / IMAGES / f"{ids[0][:16]}.json"
    edit(path, change)
    with pytest.raises(OwsegError, match=r"is damaged|is of format") as error:
        queue.entry(ids[0][:16])
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        put("root", "photos"), put("root", "../photos"), put("root", 3), put("format", "1"), put("classes", 5),
        put("extra", 1), put("min_area", "all"), lambda v: v.pop("kb"),
    ],
)  # fmt: skip
def test_a_tampered_queue_is_refused(queue, change):
    edit(queue.folder / "queue.json", change)
    with pytest.raises(OwsegError, match=r"queue.json is (damaged|of format)"):
        Queue.open(queue.folder)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": 1}', b"[" * 100_000])
def test_a_damaged_file_is_named(queue, ids, text):
    for path, read in (
        (queue.folder / "queue.json", lambda: Queue.open(queue.folder)),
        (queue.folder / "groups.json", queue.groups),
        (queue.folder / IMAGES / f"{ids[0][:16]}.json", lambda: queue.entry(ids[0][:16])),
    ):
        path.write_bytes(text)
        with pytest.raises(OwsegError, match="damaged") as error:
            read()
        assert str(path) in str(error.value)


def test_tampered_groups_and_embeddings_are_refused(queue, ids):
    queue.write_groups([Group(1, ("../../x-1",))])
    with pytest.raises(OwsegError, match=r"groups.json is damaged"):
        queue.groups()
    queue.write_groups([Group(1, (ids[0],), {ids[0]: ("/etc/passwd",)})])
    with pytest.raises(OwsegError, match=r"groups.json is damaged"):
        queue.groups()
    for empty in (Group(1, ()), Group(1, (ids[0],), {"x": ()})):
        queue.write_groups([empty])
        with pytest.raises(OwsegError, match=r"groups.json is damaged"):
            queue.groups()
    path = queue.folder / IMAGES / f"{ids[0][:16]}.npy"
    np.save(path, np.array([{}, {}, {}], object), allow_pickle=True)
    with pytest.raises(OwsegError, match=r"npy is damaged"):
        queue.entry(ids[0][:16])
    headers = (HUGE, b"{'descr': (", b"if 1:\n    a\n  b")  # too much memory; open at its end; no Python
    for wrong in (b"PK\x03\x04 no archive", *(b"\x93NUMPY\x01\x00F\x00" + h.ljust(69) + b"\n" for h in headers)):
        path.write_bytes(wrong)
        with pytest.raises(OwsegError, match=r"npy is damaged"):
            queue.entry(ids[0][:16])
    np.save(path, np.full((3, 2), np.nan, np.float32))
    with pytest.raises(OwsegError, match=r"npy is damaged"):
        queue.entry(ids[0][:16])
    path.unlink()
    with pytest.raises(OwsegError, match=r"npy is damaged"):
        queue.entry(ids[0][:16])


def test_groups_that_an_older_owseg_stored_are_read(queue, ids):
    edit(queue.folder / "groups.json", lambda v: [g.update(worth=g.pop("priority") + 7) for g in v["groups"]])
    assert "priority" not in (queue.folder / "groups.json").read_text()
    assert [g.priority for g in queue.groups()] == [7, 7] and queue.groups()[0].regions[0] == ids[0]


def test_an_image_that_is_not_in_the_queue_is_refused(queue):
    for image_id in ("f" * 16, "../queue", "", None):
        with pytest.raises(OwsegError, match="names no image"):
            queue.entry(image_id)


def test_values_compare_hash_and_print(queue, ids):
    group = queue.groups()[0]
    assert (
        group == queue.groups()[0]
        and len({group, queue.groups()[0]}) == 1
        and len({queue, Queue.open(queue.folder)}) == 1
    )
    entry = queue.entry(ids[0][:16])
    assert entry != queue.entry(ids[0][:16]) and len(repr(entry)) < 100 and "p0.png" in repr(entry)


def test_the_groups_of_many_regions_may_take_more_than_other_files(queue):
    before = queue.groups()
    with (queue.folder / "groups.json").open("ab") as file:
        file.write(b" " * MAX_TEXT)
    assert Queue.open(queue.folder).groups() == before
