"""Whatever a row says that no queue writes is damage, and named as such."""

import numpy as np
import pytest

from owseg.data.masks import Rle
from owseg.discovery.contents import Group
from owseg.discovery.queue import Queue
from owseg.errors import OwsegError
from tests.support.queues import IDS, SIZE, edit, square

FIRST = IDS[0][:16]
ELSEWHERE = square(14, 2) & (np.arange(SIZE[1]) < 7)
"""As large as the core of the first region."""


def refused(read):
    with pytest.raises(OwsegError, match=r"queue.db is damaged; restore it from a copy, or run `owseg discover`"):
        read()


@pytest.mark.parametrize(
    "column, value",
    [("name", b"../p0.png"), ("name", b"/etc/passwd"), ("name", b"a/../../p0.png"), ("name", b""), ("name", 7),
     ("name", "p0.png"), ("name", b"p1.png"), ("name", None), ("name", b"\xff"), ("name", b"p0.png\0"),
     ("height", 1), ("height", 0), ("height", "big"), ("height", None), ("width", 2**40), ("width", -1),
     ("unknown", b""), ("unknown", b"1"), ("unknown", None), ("unknown", "xx"), ("unknown", b"\xff\x00"),
     ("unknown", b"o" * 99)],
)  # fmt: skip
def test_a_tampered_image_is_refused(queue, column, value):
    edit(queue, f"UPDATE images SET {column} = ? WHERE id = ?", value, FIRST)
    refused(lambda: queue.entry(FIRST))


@pytest.mark.parametrize(
    "column, value",
    [("number", 7), ("number", None), ("x", "wide"), ("width", None), ("area", 1), ("core_area", 1), ("core_area", 0),
     ("mean", None), ("peak", "high"), ("nearest", "road"), ("nearest", None), ("distance", "far"), ("mask", b"1"),
     ("mask", None), ("core", Rle.of(ELSEWHERE).code), ("core", b""),
     ("embedding", b"abc"), ("embedding", "text"), ("embedding", None),
     ("embedding", np.array([np.nan, 0], "<f4").tobytes())],
)  # fmt: skip
def test_a_tampered_region_is_refused(queue, column, value):
    edit(queue, f"UPDATE regions SET {column} = ? WHERE image = ? AND number = 1", value, FIRST)
    refused(lambda: queue.entry(FIRST))


@pytest.mark.parametrize(
    "column, value", [("core_area", "x"), ("core_area", None), ("nearest", "road"), ("nearest", b"\xff")]
)
def test_a_tampered_list_is_refused(queue, column, value):
    edit(queue, f"UPDATE regions SET {column} = ?", value)
    refused(lambda: queue.summary(FIRST))


@pytest.mark.parametrize("name", [b"../p0.png", b"/etc/passwd", "p0.png", None])
def test_a_tampered_name_is_refused_in_lists(queue, name):
    edit(queue, "UPDATE images SET name = ?", name)
    refused(lambda: queue.summary(FIRST))


@pytest.mark.parametrize(
    "column, value",
    [("root", b"photos"), ("root", b"../photos"), ("root", 3), ("root", "/photos"), ("fingerprint", None),
     ("fingerprint", b"0"), ("min_area", "all"), ("min_area", None), ("split_at", b""), ("kb", None), ("kb", b"\xff")],
)  # fmt: skip
def test_a_tampered_queue_is_refused(queue, column, value):
    edit(queue, f"UPDATE queue SET {column} = ?", value)
    refused(lambda: Queue.open(queue.folder))


def test_a_queue_is_one(queue):
    edit(queue, "UPDATE classes SET name = 'road'")
    refused(lambda: Queue.open(queue.folder))
    edit(queue, "DELETE FROM queue")
    for read in (lambda: Queue.open(queue.folder), queue.groups, queue.storage.read_info):
        refused(read)
    edit(queue, "INSERT INTO queue VALUES (x'', '', x'2f', 1, 1, 1), (x'', '', x'2f', 1, 1, 1)")
    refused(lambda: Queue.open(queue.folder))


def test_tampered_groups_are_refused(queue, ids):
    before = queue.groups()
    for wrong in (Group(1, ("../../x-1",)), Group(1, (ids[0],), {ids[0]: ("/etc/passwd",)}), Group(1, ()),
                  Group(1, (ids[0],), {"x": (ids[1],)}), Group(1, (ids[0],), priority="high")):  # fmt: skip
        queue.write_groups([wrong])
        refused(queue.groups)
    queue.write_groups(before)
    assert queue.groups() == before
    edit(queue, "UPDATE members SET number = 7 WHERE number = 2")
    refused(queue.groups)


def test_an_image_that_is_not_in_the_queue_is_refused(queue):
    for image_id in ("f" * 16, "../queue", "", None, "\ud800", 7):
        for read in (queue.entry, queue.summary):
            with pytest.raises(OwsegError, match="names no image"):
                read(image_id)


def test_values_compare_hash_and_print(queue, ids):
    group = queue.groups()[0]
    assert (
        group == queue.groups()[0]
        and len({group, queue.groups()[0]}) == 1
        and len({queue, Queue.open(queue.folder)}) == 1
    )
    entry = queue.entry(FIRST)
    assert entry != queue.entry(FIRST) and len(repr(entry)) < 100 and "p0.png" in repr(entry)


def test_lists_read_no_mask(queue):
    with queue.storage.reading() as db:
        (plan,) = db.execute("EXPLAIN QUERY PLAN SELECT image, core_area, nearest FROM regions ORDER BY image, number")
    assert "COVERING INDEX summaries" in plan[-1]
