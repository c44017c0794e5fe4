import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from owseg.data.images import read_image
from owseg.data.masks import Rle
from owseg.discovery.discover import TILE, _frames, discover, natural, overview, thumbnail
from owseg.discovery.queue import Queue
from owseg.errors import OwsegError
from owseg.knowledge.calibration import calibrate, fit_scorers
from owseg.knowledge.regions import find_regions
from tests.cli.test_cli import run
from tests.support import tiny
from tests.support.killing import in_child


def unsure():
    """A knowledge base that calls a third of what it sees unknown."""
    data = tiny.dataset()
    return calibrate(fit_scorers(tiny.knowledge_base(), data), data, fpr=0.3, scorer="joint")


@pytest.fixture(scope="module")
def kb():
    return unsure()


def photos_in(folder, count=4):
    (folder / "photos").mkdir()
    for i in range(count):
        Image.fromarray(tiny.image(i).transpose(1, 2, 0)).save(folder / "photos" / f"p{i}.png")
    return sorted((folder / "photos").iterdir())


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_queue_holds_what_find_regions_finds(kb, tmp_path):
    paths = photos_in(tmp_path)
    queue, found = discover(kb, paths, tmp_path / "q", "mykb", min_area=20)
    assert queue.about.kb == "mykb" and queue.about.fingerprint == kb.fingerprint(decides=True)
    assert (found.pictures, found.skipped) == (4, ())
    regions = 0
    for one in queue.image_ids():
        picture = queue.entry(one)
        direct = find_regions(kb, read_image(tmp_path / "photos" / picture.name), picture.name, 20)
        assert np.array_equal(picture.unknown.mask(), direct.unknown)
        for region, ours, theirs in zip(picture.ids, picture.regions, direct.regions, strict=True):
            assert np.array_equal(ours.embedding, theirs.embedding)

            assert ours.mask == theirs.mask and ours.core == theirs.core and ours.distance == theirs.distance
            assert read_image(queue.thumbnail(region)).shape == (3, TILE, TILE)
            regions += 1
    listed = [r for g in queue.groups() for r in (*g.regions, *(c for several in g.copies.values() for c in several))]
    assert len(listed) == len(set(listed)) == regions == found.regions
    assert [g.number for g in queue.groups()] == list(range(1, found.groups + 1))
    assert sum(len(g) for g in queue.groups()) == regions - found.copies
    assert read_image(queue.folder / "groups.jpg").shape == overview(queue).transpose(2, 0, 1).shape


@pytest.mark.parametrize("moment", [1, 2, 5, 9, 14])
def test_a_killed_run_goes_on_where_it_stopped(kb, tmp_path, moment):
    """Kill at the n-th file that is to be renamed into place; what is there at the end is what one run makes."""
    paths = photos_in(tmp_path)

    def killed():
        calls, whole = [], Path.replace

        def dying(self, target):
            calls.append(target)
            if len(calls) == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(self, target)

        Path.replace = dying
        discover(kb, paths, tmp_path / "torn", min_area=20)

    assert in_child(killed) == -signal.SIGKILL
    for part in (tmp_path / "torn").rglob("*.part"):
        part.unlink()
    before = set((tmp_path / "torn").glob("images/*.json"))
    looks = []

    def forward(image):
        looks.append(1)
        return kb.forward(image)

    discover(kb, paths, tmp_path / "torn", min_area=20, forward=forward)
    assert len(looks) == len(paths) - len(before)
    discover(kb, paths, tmp_path / "whole", min_area=20)
    assert contents(tmp_path / "torn") == contents(tmp_path / "whole")


def test_a_queue_grows_and_keeps_its_decisions(kb, tmp_path):
    paths = photos_in(tmp_path)
    queue, few = discover(kb, paths[:2], tmp_path / "q", min_area=20)
    region = queue.groups()[0].regions[0]
    queue.accept(region, "cow")
    queue, more = discover(kb, paths, tmp_path / "q", min_area=20)
    assert (few.pictures, more.pictures) == (2, 4) and queue.accepted() == {"cow": [region]}


def test_pictures_may_be_named_by_way_of_another_folder(kb, tmp_path, monkeypatch):
    paths = photos_in(tmp_path, 2)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    around = [Path("..") / "here" / ".." / "photos" / path.name for path in paths]
    Path("linked.png").symlink_to(paths[0])  # it has a name of its own
    queue, _ = discover(kb, [*around, Path("linked.png")], tmp_path / "q", min_area=20)
    assert {queue.entry(one).name for one in queue.image_ids()} == {
        "photos/p0.png",
        "photos/p1.png",
        "here/linked.png",
    }
    assert all(queue.image(one).shape[0] == 3 for one in queue.image_ids())  # found where it is said to be


def test_a_queue_made_otherwise_is_refused(kb, tmp_path):
    paths = photos_in(tmp_path)
    discover(kb, paths[:1], tmp_path / "q", min_area=20)
    other = replace(kb, threshold=replace(kb.threshold, value=kb.threshold.value + 1))
    with pytest.raises(OwsegError, match="another knowledge base"):
        discover(other, paths, tmp_path / "q", min_area=20)
    with pytest.raises(OwsegError, match="other settings"):
        discover(kb, paths, tmp_path / "q", min_area=30)
    (tmp_path / "else").mkdir()
    Image.fromarray(tiny.image(0).transpose(1, 2, 0)).save(tmp_path / "else" / "a.png")
    with pytest.raises(OwsegError, match="below another folder"):
        discover(kb, [tmp_path / "else" / "a.png"], tmp_path / "q", min_area=20)
    with pytest.raises(OwsegError, match="no queue"):
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
    assert unsure().fingerprint() == kb.fingerprint()


def test_frames_are_counted_as_people_do():
    names = ["b/f10.png", "a/f2.png", "a/f10.png", "a/f1.png", "b/f9.png"]
    assert sorted(names, key=natural) == ["a/f1.png", "a/f2.png", "a/f10.png", "b/f9.png", "b/f10.png"]
    frames = dict(zip(names, _frames(names).tolist(), strict=True))
    assert frames["a/f2.png"] - frames["a/f1.png"] == frames["a/f10.png"] - frames["a/f2.png"] == 1
    assert frames["b/f10.png"] - frames["b/f9.png"] == 1 and frames["b/f9.png"] - frames["a/f10.png"] == 2


def test_a_thumbnail_shows_the_region_with_its_outline():
    image = np.full((3, 100, 200), 90, np.uint8)
    image[1, 40:60, 150:170] = 250
    mask = np.zeros((100, 200), bool)
    mask[40:60, 150:170] = True
    tile = thumbnail(image, Rle.of(mask), (150, 40, 20, 20))
    pink = (tile == (255, 0, 200)).all(-1)
    rows, columns = np.nonzero(pink)
    assert tile.shape == (TILE, TILE, 3) and pink.any()
    inside = tile[rows.min() + 8 : rows.max() - 8, columns.min() + 8 : columns.max() - 8]
    assert (inside[..., 1] > 200).all()
    for box in ((0, 0, 5, 5), (195, 95, 5, 5), (0, 0, 200, 100)):  # at the border, and larger than the image is high
        assert thumbnail(image, Rle.of(np.ones((100, 200), bool)), box).shape == (TILE, TILE, 3)


def test_the_command_line_finds_and_goes_on(capsys, kb, tmp_path):
    kb.save(tmp_path / "kb")
    photos_in(tmp_path)
    args = ("discover", tmp_path / "kb", tmp_path / "photos", "--out", tmp_path / "q", "--min-area", 20)
    code, out, _ = run(capsys, *args)
    assert code == 0 and "from 4 images" in out and f"owseg review {tmp_path / 'kb'} {tmp_path / 'q'}" in out
    (tmp_path / "photos" / "p9.png").write_bytes(b"no image")
    code, out, err = run(capsys, *args, "--json")
    value = json.loads(out)
    assert code == 1 and value["images"] == 4 and len(value["skipped"]) == 1 and "p9.png" in value["skipped"][0]
    assert value["groups"] == len(Queue.open(tmp_path / "q").groups())
    code, _, err = run(capsys, *args[:-1], 30)
    assert code == 1 and "other settings" in err and len(err.splitlines()) == 1


def test_a_calm_street_is_an_empty_queue(kb, tmp_path):
    calm = replace(kb, threshold=replace(kb.threshold, value=1e9))
    queue, found = discover(calm, photos_in(tmp_path), tmp_path / "q")
    assert (found.pictures, found.regions, found.groups) == (4, 0, 0) and queue.groups() == []
    assert (queue.folder / "groups.jpg").exists()
