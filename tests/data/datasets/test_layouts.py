import json

import numpy as np
import pytest
from PIL import Image

from owseg.data.datasets import open_dataset
from owseg.data.datasets.camvid import CLASSES
from owseg.errors import NoSuchSplit, OwsegError
from owseg.labels import IGNORE, UNKNOWN
from tests.support import tiny


def save_image(path, size=(8, 6), value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), value, np.uint8)).save(path)


def save_mask(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(ids, np.uint8)).save(path)


@pytest.fixture
def own(tmp_path):
    """A user's folder: one labelled image, one without ground truth."""
    ids = np.zeros((6, 8), np.uint8)
    ids[0], ids[1], ids[2] = 1, 2, 255
    save_image(tmp_path / "images" / "a.jpg")
    save_image(tmp_path / "images" / "b.png")
    save_mask(tmp_path / "masks" / "a.png", ids)
    (tmp_path / "classes.json").write_text(json.dumps(["road", "car", "sky"]))
    return tmp_path


def test_folder_maps_ids_by_name(own):
    data = open_dataset(f"folder:{own}", "test")
    assert [s.id for s in data] == ["a", "b"]
    assert data[0].target[:4, 0].tolist() == [1, 2, IGNORE, 0]
    assert data[1].target is None
    narrow = open_dataset(f"folder:{own}", "test", data.labels.without(["car"]))
    assert narrow[0].target[:4, 0].tolist() == [UNKNOWN, 1, IGNORE, 0]
    assert narrow.unknown_classes() == ("car",)
    training = open_dataset(f"folder:{own}", "test", narrow.labels, train=True)
    assert training[0].target[:4, 0].tolist() == [IGNORE, 1, IGNORE, 0]


def test_folder_prefers_the_split(own):
    save_image(own / "val" / "images" / "v.png")
    assert [s.id for s in open_dataset(f"folder:{own}", "val")] == ["v"]


def test_lists_of_names_are_the_splits_of_a_folder(own):
    save_image(own / "images" / "c.d.png")
    (own / "train.txt").write_text("images/c.d.png\n\n b \r\n")
    (own / "val.txt").write_text("a.jpg\n")
    train, val = (open_dataset(f"folder:{own}", split) for split in ("train", "val"))
    assert [s.id for s in train] == ["c.d", "b"] and [s.id for s in val] == ["a"]
    assert (val[0].target is not None) and train.source.name != val.source.name  # so no command takes them for one
    with pytest.raises(NoSuchSplit, match=r"has no split 'test'; it has train\.txt, val\.txt\.$"):
        open_dataset(f"folder:{own}", "test")
    (own / "test.txt").write_text("c.d")
    assert open_dataset(f"folder:{own}", "test").source.ids == ("c.d",)


@pytest.mark.parametrize("text, why", [
    ("a\nc.png", "names c.png, which is no image beside it"),
    ("a\nb\nimages/a.jpg", "names images/a.jpg, which is in it twice"),
    (" \n", "names no image; write a name a line"),
    (b"a\n\xff", "which is no image beside it"),
    ("x" * 10_000, "names x{99}, which is no image beside it"),
])  # fmt: skip
def test_bad_lists_end_in_one_sentence(own, text, why):
    (own / "val.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(OwsegError, match=why) as caught:
        open_dataset(f"folder:{own}", "val")
    assert str(caught.value).startswith(f"{own}/val.txt ") and str(caught.value).count("\n") == 0


def test_a_split_that_is_missing_is_not_the_whole(own):
    (own / "train").mkdir()
    for kind in ("images", "masks"):
        (own / kind).rename(own / "train" / kind)
    assert len(open_dataset(f"folder:{own}", "train")) == 2
    with pytest.raises(OwsegError, match="has no split 'val'; it has train"):
        open_dataset(f"folder:{own}", "val")


def test_fingerprint_sees_pixels_names_and_labels(own):
    data = open_dataset(f"folder:{own}", "test")
    first = data.fingerprint()
    assert first == open_dataset(f"folder:{own}", "test").fingerprint()
    assert first != open_dataset(f"folder:{own}", "test", data.labels.without(["car"])).fingerprint()
    save_image(own / "images" / "b.png", value=101)
    assert first != data.fingerprint()


def test_camvid_matches_any_suffix_by_stem(tmp_path):
    ids = np.full((6, 8), 11, np.uint8)
    ids[0, :] = 8
    save_image(tmp_path / "test" / "x.webp")
    save_mask(tmp_path / "testannot" / "x.png", ids)
    data = open_dataset(f"camvid:{tmp_path}", "test", CLASSES.without(["car"]))
    assert data[0].target[0].tolist() == [UNKNOWN] * 8
    assert (data[0].target[1:] == IGNORE).all()


def test_real_camvid(shared_data):
    data = open_dataset(f"camvid:{shared_data / 'camvid'}", "val")
    assert len(data) == 101
    sample = data[0]
    assert sample.image.shape == (3, 360, 480)
    assert set(np.unique(sample.target)) <= {*range(11), IGNORE}


def cases(own):
    yield (
        "masks of another size",
        "must be of one size",
        lambda: save_mask(own / "masks" / "a.png", np.zeros((3, 3))),
    )
    yield (
        "an id without a class",
        r"holds the ids \[7\]",
        lambda: save_mask(own / "masks" / "a.png", np.full((6, 8), 7)),
    )
    yield (
        "an orphan mask",
        "no image of that name",
        lambda: save_mask(own / "masks" / "zzz.png", np.zeros((6, 8))),
    )
    yield (
        "a corrupt image",
        "cannot be read",
        lambda: (own / "images" / "a.jpg").write_bytes(b"not an image"),
    )
    yield "a truncated image", "cannot be read", lambda: truncate(own / "images" / "a.jpg")
    yield "a colour mask", "8-bit grey or palette", lambda: save_image(own / "masks" / "a.png")
    yield "classes that are no JSON", "is not JSON", lambda: (own / "classes.json").write_text("{")
    yield "no classes", "no classes.json", lambda: (own / "classes.json").unlink()
    yield "an empty folder", "holds no image", lambda: [p.unlink() for p in (own / "images").iterdir()]


def truncate(path):
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize("case", range(9))
def test_bad_folders_end_in_one_sentence(own, case):
    _, message, spoil = list(cases(own))[case]
    if "orphan" not in _ and "empty" not in _:
        (own / "masks").mkdir(exist_ok=True)
    spoil()
    with pytest.raises(OwsegError, match=message) as caught:
        list(open_dataset(f"folder:{own}", "test"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["camvid", "camvid:/nowhere", "folder:/nowhere", "kitti:/tmp"])
def test_bad_names_end_in_one_sentence(spec):
    with pytest.raises(OwsegError, match=r"name|owseg data list"):
        open_dataset(spec, "test")


def test_where_classes_json_may_be_is_said(tmp_path):
    photos = tiny.write_photos(tmp_path / "train" / "images", 1)
    with pytest.raises(OwsegError) as caught:
        open_dataset(f"folder:{tmp_path}", "train")
    assert str(caught.value) == (
        f"{tmp_path / 'train'} has no classes.json, nor has {tmp_path}; write the class names into either, in the "
        'order of their ids, such as ["soil", "crop"].'
    )
    photos.rename(tmp_path / "images")
    (tmp_path / "train").rmdir()
    with pytest.raises(OwsegError, match=f"{tmp_path} has no classes.json; write the class names there, in the"):
        open_dataset(f"folder:{tmp_path}", "train")
