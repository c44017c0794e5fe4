import json
import os
import signal

import numpy as np
import pytest
from PIL import Image

from owseg.discover import discover
from owseg.errors import OwsegError
from owseg.learners import Probe, learn
from owseg.queue import About, Group, Queue, class_name, file_hash, picture_id
from owseg.queue.decisions import LONGEST_NAME
from owseg.regions import Found, Region, Rle
from tests import tiny
from tests.killing import in_child
from tests.test_discover import photos_in, unsure

SIZE = (24, 32)


def region(mask, core=None, embedding=(1.0, 0.0)):
    rows, columns = np.nonzero(mask)
    box = int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1
    z = np.array(embedding, np.float32)
    core = mask if core is None else core
    return Region("p.png", Rle.of(mask), Rle.of(core), box, int(mask.sum()), 2.0, 3.0, z, "road", 1.5)


def square(y, x, side=6):
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return mask


@pytest.fixture
def queue(tmp_path):
    """Two pictures; the first has three regions and a bit that is unknown but no region, the second has one."""
    (tmp_path / "photos").mkdir()
    for i in range(2):
        image = tiny.picture(i, SIZE).transpose(1, 2, 0)
        Image.fromarray(image).save(tmp_path / "photos" / f"p{i}.png")
    about = About("kb", "0" * 16, ("road", "sky"), str(tmp_path / "photos"), 0.01, 0.5)
    queue = Queue.begin(tmp_path / "queue", about)
    masks = [[square(2, 2), square(2, 12, 5), square(14, 20, 4)], [square(8, 8, 8)]]
    for i, several in enumerate(masks):
        unknown = np.logical_or.reduce(several)
        unknown[20, 2:5] = True
        cores = [m & (np.arange(SIZE[1]) < 9) if m[2, 2] else None for m in several]
        found = Found(unknown, tuple(region(m, c) for m, c in zip(several, cores, strict=True)))
        queue.add(f"p{i}.png", file_hash(tmp_path / "photos" / f"p{i}.png"), found, [b"jpeg"] * len(several))
    return queue


@pytest.fixture
def ids(queue):
    """The regions' ids: three of the first picture, one of the second."""
    return [f"{picture_id('p0.png')}-{k}" for k in (1, 2, 3)] + [f"{picture_id('p1.png')}-1"]


def test_a_queue_tells_what_was_put_in(queue, ids):
    again = Queue.open(queue.folder)
    assert again == queue and again.pictures() == sorted({i[:16] for i in ids})
    picture = again.picture(ids[0][:16])
    assert picture.name == "p0.png" and picture.size == SIZE and picture.ids == tuple(ids[:3])
    assert picture.unknown.mask()[20].sum() == 3
    one = again.region(ids[1])
    assert np.array_equal(one.mask.mask(), square(2, 12, 5)) and one.box == (12, 2, 5, 5) and one.area == 25
    assert (one.mean, one.peak, one.nearest, one.distance) == (2.0, 3.0, "road", 1.5)
    assert one.embedding.tolist() == [1, 0]
    assert again.thumbnail(ids[0]).read_bytes() == b"jpeg"
    assert np.array_equal(again.image(ids[0][:16]), tiny.picture(0, SIZE))
    groups = [Group(1, (ids[0], ids[3]), {ids[0]: (ids[2],)}, 2.5), Group(2, (ids[1],))]
    again.write_groups(groups)
    assert queue.groups() == groups and [len(g) for g in groups] == [2, 1]


def test_decisions_are_the_last_word_on_each_region(queue, ids):
    assert queue.decisions() == {} and queue.accepted() == {} and not queue.undo()
    queue.accept(ids[:2], "dog")
    queue.reject(ids[1])
    queue.accept(ids[3], "cat")
    verdicts = {r: (d.verdict, d.name) for r, d in queue.decisions().items()}
    assert verdicts == {ids[0]: ("accept", "dog"), ids[1]: ("reject", None), ids[3]: ("accept", "cat")}
    assert queue.accepted() == {"dog": [ids[0]], "cat": [ids[3]]}
    assert queue.undo() and queue.undo()
    assert queue.accepted() == {"dog": ids[:2]}
    assert queue.undo() and not queue.undo() and queue.decisions() == {}
    queue.accept(ids[0], "  dog ")
    assert queue.accepted() == {"dog": [ids[0]]}


def test_a_new_name_keeps_the_corrected_mask(queue, ids):
    queue.accept(ids[0], "dgo")
    queue.accept(ids[3], "dgo", square(9, 9, 3))
    queue.rename([ids[0], ids[3]], "dog")
    found = queue.decisions()
    assert queue.accepted() == {"dog": [ids[0], ids[3]]}
    assert found[ids[0]].mask is None and np.array_equal(found[ids[3]].mask.mask(), square(9, 9, 3))
    assert queue.undo() and queue.accepted() == {"dgo": [ids[0], ids[3]]}
    queue.reject(ids[0])
    for several, name, why in (([ids[3], ids[0]], "dog", "not accepted"), ([ids[1]], "dog", "not accepted"),
                               ([ids[3]], "road", "known already"), ([], "dog", "no region")):  # fmt: skip
        with pytest.raises(OwsegError, match=why):
            queue.rename(several, name)
    assert queue.accepted() == {"dgo": [ids[3]]}
    log = queue.folder / "decisions.jsonl"
    log.write_text(json.dumps({"do": "rename", "regions": [ids[1]], "name": "dog"}) + "\n")
    with pytest.raises(OwsegError, match=r"decisions.jsonl is damaged"):
        queue.decisions()
    log.write_text(json.dumps({"do": "accept", "regions": [ids[3]], "name": "dog",
                               "mask": {"size": [1, 1], "counts": [0, 1]}}) + "\n")  # fmt: skip
    with pytest.raises(OwsegError, match=r"decisions.jsonl is damaged"):
        queue.shots("dog")


def test_shots_can_be_chosen_by_their_pictures(queue, ids):
    queue.accept([ids[1], ids[3]], "dog")
    assert queue.showing("dog") == [ids[3][:16], ids[1][:16]] and queue.showing("cat") == []
    assert [s.id for s in queue.shots("dog", pictures=[ids[1][:16]])] == ["p0.png"]
    with pytest.raises(OwsegError, match="no region"):
        queue.shots("dog", pictures=["0" * 16])


def test_a_shot_knows_what_was_said_and_what_was_not(queue, ids):
    queue.accept(ids[0], "dog")
    (shot,) = queue.shots("dog")
    core, margin = square(2, 2), square(2, 2)
    core[:, 9:] = False
    assert np.array_equal(shot.mask, queue.region(ids[0]).core.mask())
    assert shot.void is not None and not (shot.void & shot.mask).any()
    undecided = square(2, 12, 5) | square(14, 20, 4)
    assert shot.void[undecided].all() and shot.void[20, 2:5].all() and not shot.elsewhere[margin].any()
    assert not shot.void[10:13].any() and shot.elsewhere[10:13].all()  # known, far from all that is not
    assert shot.id == "p0.png" and np.array_equal(shot.image, tiny.picture(0, SIZE))
    queue.reject(ids[1])
    queue.accept(ids[2], "cat")
    (shot,) = queue.shots("dog")
    assert shot.elsewhere[undecided].all()  # not a dog: one thing is nothing new, the other is a cat
    queue.accept(ids[3], "dog")
    assert [s.id for s in queue.shots("dog")] == ["p1.png", "p0.png"]  # what shows most comes first
    assert [s.id for s in queue.shots("dog", 1)] == ["p1.png"]


def test_regions_of_a_class_in_one_picture_are_one_shot(queue, ids):
    queue.accept(ids[1:3], "dog")
    (shot,) = queue.shots("dog")
    assert np.array_equal(shot.mask, square(2, 12, 5) | square(14, 20, 4))


def test_around_a_region_as_found_lies_a_margin_and_none_around_a_drawn_one(queue, ids):
    queue.accept(ids[3], "dog")
    (found,) = queue.shots("dog")
    assert not found.void[7, 10]  # 2 % of 24 pixels is less than one
    drawn = square(9, 9, 3)
    queue.accept(ids[3], "dog", drawn)
    (shot,) = queue.shots("dog")
    assert np.array_equal(shot.mask, drawn)
    assert np.array_equal(shot.void, queue.picture(ids[3][:16]).unknown.mask() & ~drawn)


def test_the_margin_is_a_share_of_the_picture(tmp_path):
    image = tiny.picture(0, (104, 200))
    Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "p.png")
    queue = Queue.begin(tmp_path / "q", About("kb", "0", ("road",), str(tmp_path), 0.01, 0.5))
    mask = np.zeros((104, 200), bool)
    mask[40:60, 40:60] = True
    one = queue.add("p.png", file_hash(tmp_path / "p.png"), Found(mask, (region(mask),)), [b""])
    queue.accept(f"{one}-1", "dog")
    (shot,) = queue.shots("dog")
    assert shot.void[50].nonzero()[0].tolist() == [38, 39, 60, 61] and shot.void[38, 45] and not shot.void[38, 38]


def test_what_makes_no_sense_is_refused_and_changes_nothing(queue, ids):
    queue.accept(ids[0], "dog")
    for wrong, why in (
        ("road", "known already"), ("", "no class name"), (" ", "no class name"), ("a\nb", "no class name"),
        ("x" * (LONGEST_NAME + 1), "no class name"), ("a\x00", "no class name"), (None, "no class name"),
    ):  # fmt: skip
        with pytest.raises(OwsegError, match=why):
            queue.accept(ids[1], wrong)
    first = ids[0][:16]
    for strange in ("../../etc-1", f"{first}-0", f"{first}-4", "f" * 16 + "-1", f"{ids[0]}/..", "", 7, None):
        for do in (lambda r: queue.accept([r], "dog"), lambda r: queue.reject([r]), queue.region, queue.thumbnail):
            with pytest.raises(OwsegError, match="names no region"):
                do(strange)
    with pytest.raises(OwsegError, match="no region to decide"):
        queue.reject([])
    for mask in (np.zeros(SIZE, bool), np.ones((3, 3), bool), np.ones(SIZE, np.uint8)):
        with pytest.raises(OwsegError, match="corrected mask"):
            queue.accept(ids[1], "dog", mask)
    with pytest.raises(OwsegError, match="one region"):
        queue.accept(ids[:2], "dog", np.ones(SIZE, bool))
    with pytest.raises(OwsegError, match="accepted as 'cat'; accepted: dog"):
        queue.shots("cat")
    with pytest.raises(OwsegError, match="names no picture"):
        queue.picture("../queue")
    assert list(queue.decisions()) == [ids[0]]


def test_a_picture_that_changed_is_no_shot(queue, ids, tmp_path):
    queue.accept(ids[3], "dog")
    path = tmp_path / "photos" / "p1.png"
    Image.fromarray(tiny.picture(9, SIZE).transpose(1, 2, 0)).save(path)
    with pytest.raises(OwsegError, match="has changed"):
        queue.shots("dog")
    path.unlink()
    with pytest.raises(OwsegError, match="is gone"):
        queue.shots("dog")


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
    path = queue.folder / "pictures" / f"{ids[0][:16]}.json"
    edit(path, change)
    with pytest.raises(OwsegError, match=r"is damaged|is of format") as error:
        queue.picture(ids[0][:16])
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
        (queue.folder / "pictures" / f"{ids[0][:16]}.json", lambda: queue.picture(ids[0][:16])),
    ):
        path.write_bytes(text)
        with pytest.raises(OwsegError, match="damaged") as error:
            read()
        assert str(path) in str(error.value)


def test_tampered_groups_embeddings_and_decisions_are_refused(queue, ids):
    queue.write_groups([Group(1, ("../../x-1",))])
    with pytest.raises(OwsegError, match=r"groups.json is damaged"):
        queue.groups()
    queue.write_groups([Group(1, (ids[0],), {ids[0]: ("/etc/passwd",)})])
    with pytest.raises(OwsegError, match=r"groups.json is damaged"):
        queue.groups()
    log = queue.folder / "decisions.jsonl"
    for line in ('{"do": "accept", "regions": ["../x-1"], "name": "dog"}', '{"do": "undo"}', "[]", '{"do": "sell"}',
                 f'{{"do": "accept", "regions": ["{ids[0]}"], "name": "{"x" * 99}"}}'):  # fmt: skip
        log.write_text(line + "\n")
        with pytest.raises(OwsegError, match=r"decisions.jsonl is damaged"):
            queue.decisions()
    log.write_text(json.dumps({"do": "accept", "regions": [ids[0]], "name": "dog", "mask": {"counts": [3]}}) + "\n")
    with pytest.raises(OwsegError, match=r"decisions.jsonl is damaged"):
        queue.decisions()
    path = queue.folder / "pictures" / f"{ids[0][:16]}.npy"
    np.save(path, np.array([{}, {}, {}], object), allow_pickle=True)
    with pytest.raises(OwsegError, match=r"npy is damaged"):
        queue.picture(ids[0][:16])
    np.save(path, np.full((3, 2), np.nan, np.float32))
    with pytest.raises(OwsegError, match=r"npy is damaged"):
        queue.picture(ids[0][:16])
    path.unlink()
    with pytest.raises(OwsegError, match=r"npy is damaged"):
        queue.picture(ids[0][:16])


def test_a_torn_decision_was_never_made(queue, ids):
    queue.accept(ids[0], "dog")
    queue.accept(ids[3], "cat")
    log = queue.folder / "decisions.jsonl"
    whole = log.read_bytes()
    for cut in range(1, len(whole.splitlines()[-1]), 20):
        log.write_bytes(whole[:-cut])
        assert queue.accepted() == {"dog": [ids[0]]}
    queue.reject(ids[1])
    assert list(queue.decisions()) == [ids[0], ids[1]]


def test_a_killed_server_loses_no_decision(queue, ids):
    def decide_and_die():
        queue.accept(ids[:2], "dog")
        queue.reject(ids[2])
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(decide_and_die) == -signal.SIGKILL
    assert {r: d.verdict for r, d in queue.decisions().items()} == {
        ids[0]: "accept",
        ids[1]: "accept",
        ids[2]: "reject",
    }


def test_class_names_are_plain_text():
    assert class_name(" scooter, blue ") == "scooter, blue" and class_name("Fußgänger") == "Fußgänger"
    assert class_name("x" * LONGEST_NAME)


def test_a_class_is_learned_from_a_queue(tmp_path):
    kb = unsure()
    queue, _ = discover(kb, photos_in(tmp_path), tmp_path / "queue", min_area=20)
    group = queue.groups()[0]
    queue.accept(group.regions, "cow")
    shots = queue.shots("cow")
    wiser = learn(kb, "cow", shots, method=Probe(scales=(1.0,)))
    assert wiser.labels.names[-1] == "cow"
    claimed = wiser.increments[0].claim(wiser.forward(shots[0].image), shots[0].size)[0].numpy()
    assert claimed[shots[0].mask].mean() > claimed[shots[0].elsewhere].mean()
