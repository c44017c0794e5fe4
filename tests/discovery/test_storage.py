import json

import numpy as np
import pytest

from owseg.discovery.queue import Queue
from owseg.discovery.storage import Group
from owseg.errors import OwsegError
from tests.support.queues import SIZE


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
def test_a_tampered_picture_is_refused(queue, ids, change):
    path = queue.folder / "images" / f"{ids[0][:16]}.json"
    edit(path, change)
    with pytest.raises(OwsegError, match=r"is damaged|is of format") as error:
        queue.image(ids[0][:16])
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


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": 1}'])
def test_a_damaged_file_is_named(queue, ids, text):
    for path, read in (
        (queue.folder / "queue.json", lambda: Queue.open(queue.folder)),
        (queue.folder / "groups.json", queue.groups),
        (queue.folder / "images" / f"{ids[0][:16]}.json", lambda: queue.image(ids[0][:16])),
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
    path = queue.folder / "images" / f"{ids[0][:16]}.npy"
    np.save(path, np.array([{}, {}, {}], object), allow_pickle=True)
    with pytest.raises(OwsegError, match=r"npy is damaged"):
        queue.image(ids[0][:16])
    np.save(path, np.full((3, 2), np.nan, np.float32))
    with pytest.raises(OwsegError, match=r"npy is damaged"):
        queue.image(ids[0][:16])
    path.unlink()
    with pytest.raises(OwsegError, match=r"npy is damaged"):
        queue.image(ids[0][:16])
