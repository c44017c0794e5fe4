import numpy as np
import pytest

from owseg.discovery.contents import Group
from owseg.discovery.discover import discover
from owseg.discovery.queue import Queue
from owseg.errors import OwsegError
from owseg.knowledge.regions import RegionProposals
from owseg.labels import MAX_NAME
from owseg.learners.learn import learn
from owseg.learners.probe import Probe
from tests.support import tiny
from tests.support.counting import calls
from tests.support.queues import SIZE, many, noted, square
from tests.support.queues import region as region_of


def test_a_queue_holds_what_was_put_in(queue, ids):
    again = Queue.open(queue.folder)
    assert again == queue and again.image_ids() == sorted({i[:16] for i in ids})
    entry = again.entry(ids[0][:16])
    assert entry.name == "p0.png" and entry.size == SIZE and entry.ids == tuple(ids[:3])
    assert entry.unknown.mask()[20].sum() == 3
    one = again.region(ids[1])
    assert np.array_equal(one.mask.mask(), square(2, 12, 5)) and one.box == (12, 2, 5, 5) and one.area == 25
    assert (one.mean, one.peak, one.nearest, one.distance) == (2.0, 3.0, "road", 1.5)
    assert one.embedding.tolist() == [1, 0]
    assert again.thumbnail(ids[0]).read_bytes() == b"jpeg"
    assert np.array_equal(again.image(ids[0][:16]), tiny.image(0, SIZE))
    groups = [Group(1, (ids[0], ids[3]), {ids[0]: (ids[2],)}, 2.5), Group(2, (ids[1],))]
    again.write_groups(groups)
    assert queue.groups() == groups and [len(g) for g in groups] == [2, 1]


def test_what_makes_no_sense_is_refused_and_changes_nothing(queue, ids):
    queue.accept(ids[0], "dog")
    for wrong, why in (
        ("road", "known already"), ("Unknown", "reserved"), ("", "not a class name"), (" ", "not a class name"),
        ("a\nb", "not a class name"),
        ("x" * (MAX_NAME + 1), "not a class name"), ("a\x00", "not a class name"), (None, "not a class name"),
        ("unknown", "is reserved"), (" Void ", "is reserved"),
    ):  # fmt: skip
        with pytest.raises(OwsegError, match=why):
            queue.accept(ids[1], wrong)
        with pytest.raises(OwsegError, match=why):
            queue.rename(ids[0], wrong)
    first = ids[0][:16]
    for region in ("../../etc-1", f"{first}-0", f"{first}-4", "f" * 16 + "-1", f"{ids[0]}/..", "", 7, None):
        for do in (lambda r: queue.accept([r], "dog"), lambda r: queue.reject([r]), queue.region, queue.thumbnail):
            with pytest.raises(OwsegError, match="names no region"):
                do(region)
    with pytest.raises(OwsegError, match="no region to decide"):
        queue.reject([])
    for mask in (np.zeros(SIZE, bool), np.ones((3, 3), bool), np.ones(SIZE, np.uint8)):
        with pytest.raises(OwsegError, match="corrected mask"):
            queue.accept(ids[1], "dog", mask)
    with pytest.raises(OwsegError, match="one region"):
        queue.accept(ids[:2], "dog", np.ones(SIZE, bool))
    with pytest.raises(OwsegError, match="accepted as 'cat'; accepted: dog"):
        queue.shots("cat")
    with pytest.raises(OwsegError, match="names no image"):
        queue.entry("../queue")
    assert list(queue.decisions()) == [ids[0]]


def test_a_class_is_learned_from_a_queue(unsure_kb, photos, tmp_path):
    kb = unsure_kb
    queue, _ = discover(kb, sorted(photos.iterdir()), tmp_path / "queue", min_area=20)
    group = queue.groups()[0]
    queue.accept(group.regions, "cow")
    shots = queue.shots("cow")
    updated = learn(kb, "cow", shots, method=Probe(scales=(1.0,)))
    assert updated.labels.names[-1] == "cow"
    learned = updated.increments[0].predict_mask(updated.forward(shots[0].image), shots[0].size)[0].numpy()
    assert learned[shots[0].positives].mean() > learned[shots[0].negatives].mean()


def test_each_image_is_looked_up_once_however_many_of_its_regions_are_decided(tmp_path, monkeypatch):
    queue, ids = many(tmp_path / "q", images=3, regions=4)
    counted, entries = noted(monkeypatch, "count_regions"), noted(monkeypatch, "read_image")
    queue.accept(ids, "dog")
    assert sorted(counted) == queue.image_ids()
    images = list(dict.fromkeys(region[:16] for region in ids))
    assert queue.images_of("dog") == images
    queue.rename(ids, "cat")
    with pytest.raises(OwsegError, match="names no region"):
        queue.reject([*ids, f"{ids[0][:16]}-5"])
    assert queue.images_of("cat") == images and not entries
    summary = queue.summary(ids[0][:16])
    assert (summary.name, summary.areas, summary.nearest) == ("p0.png", (4,) * 4, ("road",) * 4)


def test_one_decision_looks_at_one_region(tmp_path, monkeypatch):
    """Its work does not grow with the queue, nor with the decisions before."""

    def called(n):
        queue, ids = many(tmp_path / str(n), images=n, regions=10)
        for region in ids[:n]:
            queue.reject(region)
        return calls(lambda: queue.accept(ids[-1], "dog"))

    assert called(2) == called(8)


def test_an_image_is_stored_once(queue, ids):
    before = queue.entry(ids[3][:16])
    queue.add("p1.png", "of another", RegionProposals(before.unknown.mask(), ()), [])
    assert queue.entry(ids[3][:16]).sha256 == before.sha256 and len(queue.image_ids()) == 2
    assert queue.has("p1.png") and not queue.has("p2.png")


def test_lists_know_images_that_are_added_later(queue):
    assert queue.summary(queue.image_ids()[0])
    other = Queue.open(queue.folder)
    new = other.add("p2.png", "0" * 64, RegionProposals(square(1, 1), (region_of(square(1, 1)),)), [b""])
    assert queue.summary(new).name == "p2.png"
    other.accept(f"{new}-1", "dog")
    assert queue.images_of("dog") == [new]
