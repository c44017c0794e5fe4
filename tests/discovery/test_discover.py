import inspect
import os
import signal
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from owseg.data.images import read_image
from owseg.discovery import rows
from owseg.discovery.contents import image_id_of
from owseg.discovery.database import DATABASE
from owseg.discovery.discover import discover, frame_numbers, natural_key
from owseg.discovery.queue import Queue
from owseg.discovery.thumbnails import SIDE, overview
from owseg.errors import OwsegError
from owseg.knowledge.base import KnowledgeBase
from tests.support import tiny
from tests.support.killing import in_child
from tests.support.queues import holds


@pytest.fixture
def kb(unsure_kb):
    return unsure_kb


@pytest.fixture
def paths(tmp_path):
    return sorted(tiny.write_photos(tmp_path / "photos", 4).iterdir())


def test_a_queue_holds_what_find_regions_finds(kb, paths, tmp_path):
    queue, found = discover(kb, paths, tmp_path / "q", "mykb", min_area=20)
    assert queue.info.kb == "mykb" and queue.info.fingerprint == kb.fingerprint(decides=True)
    assert (found.images, found.skipped) == (4, ())
    regions = 0
    for image_id in queue.image_ids():
        entry = queue.entry(image_id)
        direct = kb.regions(tmp_path / "photos" / entry.name, 20, image_id=entry.name)
        assert np.array_equal(entry.unknown.mask(), direct.unknown)
        for region, ours, theirs in zip(entry.ids, entry.regions, direct.regions, strict=True):
            assert np.array_equal(ours.embedding, theirs.embedding)
            assert ours.mask == theirs.mask and ours.core == theirs.core and ours.distance == theirs.distance
            assert read_image(queue.thumbnail(region)).shape == (3, SIDE, SIDE)
            regions += 1
    listed = [r for g in queue.groups() for r in (*g.regions, *(c for several in g.copies.values() for c in several))]
    assert len(listed) == len(set(listed)) == regions == found.regions
    assert [g.number for g in queue.groups()] == list(range(1, found.groups + 1))
    assert sum(len(g) for g in queue.groups()) == regions - found.copies
    assert read_image(queue.folder / "groups.jpg").shape == overview(queue).transpose(2, 0, 1).shape


@pytest.mark.parametrize("moment", [1, 2, 5, 9, 14])
def test_a_killed_run_goes_on_where_it_stopped(kb, paths, tmp_path, moment):
    """Kill as the n-th file is to be renamed into place, or the n-th change to be committed."""

    def killed():
        moments, whole = count(1), Path.replace

        def dying(act):
            def wrapped(*arguments):
                if next(moments) == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
                return act(*arguments)

            return wrapped

        Path.replace = dying(whole)
        rows.insert_image = dying(rows.insert_image)
        rows.replace_groups = dying(rows.replace_groups)
        discover(kb, paths, tmp_path / "torn", min_area=20)

    assert in_child(killed) == -signal.SIGKILL
    for part in (tmp_path / "torn").rglob("*.part"):
        part.unlink()
    before = Queue.open(tmp_path / "torn").image_ids() if (tmp_path / "torn" / DATABASE).exists() else []
    passes = []

    def forward(image):
        passes.append(1)
        return kb.forward(image)

    discover(kb, paths, tmp_path / "torn", min_area=20, forward=forward)
    assert len(passes) == len(paths) - len(before)
    discover(kb, paths, tmp_path / "whole", min_area=20)
    torn, whole = holds(tmp_path / "torn"), holds(tmp_path / "whole")
    assert torn.pop("queue")[0][:-1] == whole.pop("queue")[0][:-1] and torn == whole  # all but how often it was grouped


def test_a_queue_grows_and_keeps_its_decisions(kb, paths, tmp_path):
    queue, few = discover(kb, paths[:2], tmp_path / "q", min_area=20)
    region = queue.groups()[0].regions[0]
    queue.accept(region, "cow")
    queue, more = discover(kb, paths, tmp_path / "q", min_area=20)
    assert (few.images, more.images) == (2, 4) and queue.accepted() == {"cow": [region]}


def test_images_may_be_named_by_way_of_another_folder(kb, paths, tmp_path, monkeypatch):
    paths = paths[:2]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    around = [Path("..") / "here" / ".." / "photos" / path.name for path in paths]
    Path("linked.png").symlink_to(paths[0])  # it has a name of its own
    queue, _ = discover(kb, [*around, Path("linked.png")], tmp_path / "q", min_area=20)
    assert {queue.entry(image_id).name for image_id in queue.image_ids()} == {
        "photos/p0.png",
        "photos/p1.png",
        "here/linked.png",
    }
    assert all(queue.image(image_id).shape[0] == 3 for image_id in queue.image_ids())  # found where it is said to be


def test_a_queue_made_otherwise_is_refused(kb, paths, tmp_path):
    discover(kb, paths[:1], tmp_path / "q", min_area=20)
    other = replace(kb, threshold=replace(kb.threshold, value=kb.threshold.value + 1))
    with pytest.raises(OwsegError, match="another knowledge base"):
        discover(other, paths, tmp_path / "q", min_area=20)
    with pytest.raises(OwsegError, match=r"another least area \(20.0, not 30\)"):
        discover(kb, paths, tmp_path / "q", min_area=30)
    (tmp_path / "else").mkdir()
    Image.fromarray(tiny.image(0).transpose(1, 2, 0)).save(tmp_path / "else" / "a.png")
    with pytest.raises(OwsegError, match="below another folder"):
        discover(kb, [tmp_path / "else" / "a.png"], tmp_path / "q", min_area=20)
    with pytest.raises(OwsegError, match="not a queue"):
        discover(kb, paths, tmp_path / "photos")
    with pytest.raises(OwsegError, match="no threshold"):
        discover(replace(kb, threshold=None), paths, tmp_path / "new")
    with pytest.raises(OwsegError, match="no image"):
        discover(kb, [], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_fingerprint_tells_knowledge_bases_apart(kb, tmp_path):
    from owseg.knowledge.load import load

    kb.save(tmp_path / "kb")
    assert load(tmp_path / "kb").fingerprint() == kb.fingerprint() == kb.after(kb.history[0]).fingerprint()
    other = replace(kb, scorer="mahalanobis")
    assert other.fingerprint() == kb.fingerprint() and other.fingerprint(decides=True) != kb.fingerprint(decides=True)
    assert tiny.calibrated(0.3).fingerprint() == kb.fingerprint()


@pytest.mark.parametrize("settings", [{"min_area": 20, "split_at": -1.0}, {"min_area": 0.05, "split_at": 1.0}])
def test_all_settings_reach_the_regions(kb, paths, tmp_path, monkeypatch, settings):
    calls, whole, images = [], KnowledgeBase.find_regions, []

    def recording(*args, **kwargs):
        calls.append(inspect.signature(whole).bind(*args, **kwargs).arguments)
        return whole(*args, **kwargs)

    def forward(image):
        images.append(image)
        return kb.forward(image)

    monkeypatch.setattr(KnowledgeBase, "find_regions", recording)
    queue, _ = discover(kb, paths[:1], tmp_path / "q", "mykb", **settings, forward=forward)
    (call,) = calls
    assert {k: call[k] for k in settings} == settings and len(images) == 1 and call["sample"].id == "p0.png"
    assert (queue.info.min_area, queue.info.split_at) == tuple(settings.values())
    assert (queue.info.kb, queue.info.classes, Path(queue.info.root)) == ("mykb", kb.labels.names, paths[0].parent)


def test_near_duplicates_are_listed_with_their_representative(kb, paths, tmp_path):
    """One image as two frames in a row."""
    (tmp_path / "film").mkdir()
    for name in ("f1.png", "f2.png"):
        (tmp_path / "film" / name).write_bytes(paths[0].read_bytes())
    queue, found = discover(kb, sorted((tmp_path / "film").iterdir()), tmp_path / "q", min_area=20)
    each = found.regions // 2
    assert found.copies == each and found.regions == 2 * each > 0
    copies = {r: c for g in queue.groups() for r, c in g.copies.items()}
    first, second = (image_id_of(name) for name in ("f1.png", "f2.png"))
    assert copies in (
        {f"{a}-{k}": (f"{b}-{k}",) for k in range(1, each + 1)} for a, b in ((first, second), (second, first))
    )


def test_an_image_that_cannot_be_processed_is_skipped(kb, paths, tmp_path):
    paths[1].write_bytes(b"no image")

    def forward(image):
        if np.array_equal(image, read_image(paths[2])):
            raise MemoryError
        return kb.forward(image)

    _, found = discover(kb, paths, tmp_path / "q", min_area=20, forward=forward)
    assert found.images == 2 and len(found.skipped) == 2
    assert "p1.png" in found.skipped[0] and f"{paths[2]} needs more memory than there is (64x48)" in found.skipped[1]


def test_frames_are_numbered_in_natural_order():
    names = ["b/f10.png", "a/f2.png", "a/f10.png", "a/f1.png", "b/f9.png"]
    assert sorted(names, key=natural_key) == ["a/f1.png", "a/f2.png", "a/f10.png", "b/f9.png", "b/f10.png"]
    frames = dict(zip(names, frame_numbers(names).tolist(), strict=True))
    assert frames["a/f2.png"] - frames["a/f1.png"] == frames["a/f10.png"] - frames["a/f2.png"] == 1
    assert frames["b/f10.png"] - frames["b/f9.png"] == 1 and frames["b/f9.png"] - frames["a/f10.png"] == 2


def test_images_without_an_unknown_pixel_make_an_empty_queue(kb, paths, tmp_path):
    calm = replace(kb, threshold=replace(kb.threshold, value=1e9))
    queue, found = discover(calm, paths, tmp_path / "q")
    assert (found.images, found.regions, found.groups) == (4, 0, 0) and queue.groups() == []
    assert (queue.folder / "groups.jpg").exists()
