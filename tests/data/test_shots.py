"""Shots from a data set, drawn with a seed, and from a folder of images and masks."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from owseg.data.dataset import DataSet, Source
from owseg.data.shots import read_counterexamples, read_shot_folder, sample_shots, shot_of
from owseg.errors import OwsegError
from owseg.labels import IGNORE, LabelSpace
from tests.support import tiny


def frames(areas, void=0):
    """A data set whose frame i shows "rock" on ``areas[i]`` of 100 pixels, and has ``void`` void ones at the end."""

    def read(i):
        ids = np.zeros(100, np.uint8)
        ids[: areas[i]] = 1
        ids[100 - void :] = IGNORE
        return np.full((3, 10, 10), i, np.uint8), ids.reshape(10, 10)

    source = Source("frames", LabelSpace.of(["road", "rock"]), tuple(f"f{i}" for i in range(len(areas))), read)
    return DataSet(source, source.classes.without(["rock"]))


def test_a_shot_marks_one_class_and_what_is_void():
    shot = shot_of(frames([30, 20], void=7), 1, "rock")
    assert shot.id == "f1" and (shot.image == 1).all()
    assert shot.positives.sum() == 20 and shot.void.sum() == 7 and shot.negatives.sum() == 73
    bare = frames([30])
    bare = replace(bare, source=replace(bare.source, read=lambda i: (np.zeros((3, 10, 10), np.uint8), None)))
    with pytest.raises(OwsegError, match="f0 has no mask; a shot needs one"):
        shot_of(bare, 0, "rock")
    with pytest.raises(OwsegError, match="no class 'cow'"):
        shot_of(frames([30]), 0, "cow")


def test_shots_are_drawn_among_the_images_that_show_the_class_best():
    areas = [0, 1, 50, 2, 60, 3, 40, 4, 0, 5, 6, 30]  # ten show the class
    data = frames(areas)
    for seed in range(20):
        drawn = sample_shots(data, "rock", 2, seed, top=0.4)
        assert len({s.id for s in drawn}) == 2 and {s.id for s in drawn} <= {"f2", "f4", "f6", "f11"}
        assert [s.id for s in drawn] == sorted((s.id for s in drawn), key=lambda id: int(id[1:]))
    everyone = {s.id for seed in range(40) for s in sample_shots(data, "rock", 2, seed, top=1.0)}
    assert everyone == {f"f{i}" for i, area in enumerate(areas) if area}
    assert {s.id for s in sample_shots(data, "rock", 5, 0, top=0.1)} == {"f2", "f4", "f6", "f11", "f10"}


def test_the_seed_decides_the_draw():
    data = frames([10 + i for i in range(30)])
    draws = [tuple(s.id for s in sample_shots(data, "rock", 3, seed, top=1.0)) for seed in (0, 0, 1, 2)]
    assert draws[0] == draws[1] and len(set(draws)) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "from one shot or more, not 0"),
        ({"count": 3}, "rock is shown by 2 images of frames, and 3 are asked for; ask for fewer, or give more"),
        ({"seed": -1}, "a seed is 0 or above, not -1"),
        ({"top": 0.0}, "above 0 and at most 1, not 0.0"),
        ({"top": 1.1}, "above 0 and at most 1, not 1.1"),
        ({"name": "cow"}, "no class 'cow'"),
    ],
)
def test_what_cannot_be_drawn_ends_in_one_sentence(options, message):
    with pytest.raises(OwsegError, match=message):
        sample_shots(**{"data": frames([3, 0, 4]), "name": "rock", "count": 1, **options})


@pytest.fixture
def folder(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    Image.fromarray(tiny.image().transpose(1, 2, 0)).save(tmp_path / "images" / "a.png")
    return tmp_path


def save_mask(folder, mask, name="a"):
    Image.fromarray(mask.astype(np.uint8)).save(folder / "masks" / f"{name}.png")


def test_masks_in_a_folder_may_hold_void(folder):
    mask = np.zeros((48, 64), np.uint8)
    mask[:9], mask[20:30] = 255, 1
    save_mask(folder, mask)
    (shot,) = read_shot_folder(folder)
    assert np.array_equal(shot.image, tiny.image()) and shot.id == "a"
    assert np.array_equal(shot.void, mask == 255) and np.array_equal(shot.positives, mask == 1)
    save_mask(folder, np.where(mask == 1, 255, 0))
    (shot,) = read_shot_folder(folder)  # of two values the other is the class
    assert not shot.void.any() and np.array_equal(shot.positives, mask == 1)
    save_mask(folder, np.full((48, 64), 255))
    with pytest.raises(OwsegError, match="it is all void"):
        read_shot_folder(folder)
    save_mask(folder, np.zeros((48, 64)))
    with pytest.raises(OwsegError, match=r"a\.png marks no pixel; mark"):
        read_shot_folder(folder)


def test_images_and_masks_come_in_pairs(folder):
    save_mask(folder, np.eye(48, 64))
    save_mask(folder, np.eye(48, 64), "b")
    with pytest.raises(OwsegError, match=r"b\.png has no image of the same name in .*images"):
        read_shot_folder(folder)
    (folder / "masks" / "b.png").unlink()
    Image.fromarray(tiny.image().transpose(1, 2, 0)).save(folder / "images" / "c.png")
    with pytest.raises(OwsegError, match=r"c\.png has no mask of the same name in .*masks"):
        read_shot_folder(folder)


def test_any_number_of_shots_is_read_each_when_it_is_asked_for(folder, monkeypatch):
    read = []
    monkeypatch.setattr("owseg.data.shots.read_image", lambda path, upright: read.append(path.stem) or tiny.image())
    for i in range(1, 300):
        (folder / "images" / f"{i}.png").write_bytes(b"")
        save_mask(folder, np.eye(48, 64), str(i))
    save_mask(folder, np.eye(48, 64))
    shots = read_shot_folder(folder)
    assert len(shots) == 300 and not read
    assert [s.id for s in shots[5:7]] == read and len(read) == 2


def test_a_mask_may_mark_what_is_not_the_class(folder):
    mask = np.zeros((48, 64), np.uint8)
    mask[:9], mask[20:30] = 255, 1
    save_mask(folder, mask)
    (shot,) = read_counterexamples(folder)
    assert shot.is_counterexample and np.array_equal(shot.negatives, mask == 1) and np.array_equal(shot.void, mask != 1)
    assert np.array_equal(shot.image, tiny.image()) and shot.id == "a"
