"""Every data set as it is published: read pixel for pixel, or refused in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from owseg.data.datasets import DATASETS, open_dataset, open_source
from owseg.data.datasets.camvid32 import split_of
from owseg.errors import NoSuchSplit, OwsegError
from owseg.labels import IGNORE, KNOWN, UNKNOWN, LabelSpace
from tests.support import trees
from tests.support.trees import OTHERS, PUBLISHED, save

LAYOUTS = {**{kind: (kind, make) for kind, make in PUBLISHED.items()}, **OTHERS}


def test_every_kind_is_tested_and_described():
    assert set(PUBLISHED) == set(DATASETS) - {"synthetic"}


@pytest.mark.parametrize("kind", DATASETS)
def test_a_card_is_what_its_text_says(kind):
    entry, card = DATASETS.entries[kind], DATASETS[kind]
    known = ("name", "help", "source", "options", "facts")
    assert [getattr(entry, k) for k in known] == [getattr(card, k) for k in known]
    assert {"classes", "layout", "splits", "licence"} <= entry.facts.keys()
    assert bool(entry.facts.get("generated")) == (kind == "synthetic")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_card_names_the_splits(tmp_path, name):
    tree = PUBLISHED[name](tmp_path)
    assert set(tree.frames) <= set(DATASETS.entries[name].facts["splits"])


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_pixel_is_what_it_is_published_as(tmp_path, name):
    kind, make = LAYOUTS[name]
    tree = make(tmp_path)
    for split, frames in tree.frames.items():
        source = open_source(f"{kind}:{tmp_path}", split)
        assert source.ids == tuple(sorted(frames))
        assert source.name.startswith("folder" if kind == "folder" else kind)
        for i, id in enumerate(source.ids):
            path, mask, _ = frames[id]
            image, target = source.read(i)
            assert image.dtype == np.uint8
            if name != "fishyscapes-static":
                assert np.array_equal(image, np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1))
            assert (target is None) == (mask is None)
            if target is not None:
                assert target.dtype == np.uint8
                assert np.array_equal(target, tree.ids(split, id, source.classes.names))
        list(open_dataset(f"{kind}:{tmp_path}", split))


@pytest.mark.parametrize("kind", PUBLISHED)
def test_another_folder_is_refused(tmp_path, kind):
    with pytest.raises(OwsegError, match="folder") as caught:
        open_source(f"{kind}:{tmp_path}", DATASETS.entries[kind].facts["splits"][0])
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_missing_split_is_answered_with_those_there_are(tmp_path, name):
    kind, make = LAYOUTS[name]
    splits = list(make(tmp_path).frames)
    with pytest.raises(NoSuchSplit) as caught:
        open_source(f"{kind}:{tmp_path}", "dev")
    assert str(tmp_path) in str(caught.value) and "'dev'" in str(caught.value)
    assert all(split in str(caught.value) for split in splits)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_label_that_was_never_published_is_refused(tmp_path, name):
    kind, make = LAYOUTS[name]
    tree = make(tmp_path)
    split, mask = tree.a_mask()
    values = np.asarray(Image.open(mask)).copy()
    values[2, 3] = tree.bad_value
    save(mask, values)
    with pytest.raises(OwsegError, match=r"200|\(1, 2, 3\)") as caught:
        list(open_dataset(f"{kind}:{tmp_path}", split))
    assert kind == "folder" or str(mask) in str(caught.value)  # a folder's own ids are checked against its classes
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("which", ["image", "mask"])
def test_a_truncated_file_is_named(tmp_path, name, which):
    kind, make = LAYOUTS[name]
    tree = make(tmp_path)
    split, path = tree.an_image() if which == "image" else tree.a_mask()
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(OwsegError, match="cannot be read as an image") as caught:
        list(open_dataset(f"{kind}:{tmp_path}", split))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


TRACKS = ("roadanomaly21", "roadobstacle21")
MASKS_LEAD = ("fishyscapes-lostfound", "fishyscapes-static", "lost and found, copied")


@pytest.mark.parametrize("name", [n for n, (kind, _) in LAYOUTS.items() if kind not in ("folder", *TRACKS)])
def test_an_image_without_its_mask_is_named(tmp_path, name):
    """And where the published masks say which images there are: a mask without its image."""
    kind, make = LAYOUTS[name]
    tree = make(tmp_path)
    (split, image), mask = tree.an_image(), tree.a_mask()[1]
    gone, named = (image, mask) if name in MASKS_LEAD else (mask, image)
    gone.unlink()
    with pytest.raises(OwsegError) as caught:
        open_source(f"{kind}:{tmp_path}", split)
    assert str(named) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", TRACKS)
def test_a_track_without_any_mask_is_refused(tmp_path, kind):
    for path in (PUBLISHED[kind](tmp_path).root / "labels_masks").iterdir():
        path.unlink()
    with pytest.raises(OwsegError, match="labels_masks holds no mask"):
        open_source(f"{kind}:{tmp_path}", "val")


def test_known_classes_are_matched_by_name_and_the_rest_is_unknown(tmp_path):
    trees.cityscapes(tmp_path)
    labels = open_dataset(f"cityscapes:{tmp_path}", "train").labels.without(["car", "train"])
    sample, full = (open_dataset(f"cityscapes:{tmp_path}", "val", space)[0].target for space in (labels, None))
    assert ((sample == UNKNOWN) == np.isin(full, [13, 16])).all()
    assert ((sample == IGNORE) == (full == IGNORE)).all()


def test_what_is_merely_known_is_known_to_evaluate_and_void_to_train(tmp_path):
    trees.collected(tmp_path)
    spec, kb = f"roadanomaly21:{tmp_path}", LabelSpace.of(["road", "car"])
    raw = open_source(spec, "val").read(0)[1]
    evaluated, trained = open_dataset(spec, "val", kb)[0].target, open_dataset(spec, "val", kb, train=True)[0].target
    assert {KNOWN, 0, IGNORE} == set(np.unique(raw))
    assert np.array_equal(evaluated, np.select([raw == KNOWN, raw == 0], [KNOWN, UNKNOWN], IGNORE))
    assert (trained == IGNORE).all()


def test_streethazards_knows_the_anomaly_in_its_test_split_alone(tmp_path):
    trees.streethazards(tmp_path)
    known = open_source(f"streethazards:{tmp_path}", "train").classes
    assert len(known) == 13 and "anomaly" not in known
    test = open_dataset(f"streethazards:{tmp_path}", "test", known)
    assert test.unknown_classes() == ("anomaly",)
    assert (test[0].target == UNKNOWN).any()
    save(tmp_path / "train/annotations/training/t1/9.png", np.full(trees.SIZE, 14))
    with pytest.raises(OwsegError, match=r"holds the values \[14\]"):
        open_dataset(f"streethazards:{tmp_path}", "train")[0]


def test_the_sequences_with_known_obstacles_can_be_left_out(tmp_path):
    trees.lostandfound(tmp_path)
    ids = [open_source(f"lostandfound:{tmp_path}", split).ids for split in ("test", "test-no-known")]
    assert len(ids[0]) == 2 and [i for i in ids[0] if "Rechberg" not in i] == list(ids[1])


def test_static_images_are_the_city_and_the_published_difference(tmp_path):
    tree = trees.fishyscapes_static(tmp_path)
    source = open_source(f"fishyscapes-static:{tmp_path}", "val")
    for i, id in enumerate(source.ids):
        city = np.asarray(Image.open(tree.frames["val"][id][0])).astype(int)
        with np.load(tmp_path / "fs_val_v3" / f"{id}_rgb.npz") as arrays:
            expected = np.clip(city + arrays["rgb"], 0, 255)
        assert (expected != city).mean() > 0.5
        assert np.array_equal(source.read(i)[0].transpose(1, 2, 0), expected)


@pytest.mark.parametrize("content", [b"", b"PK nothing", None])
def test_differences_that_are_damaged_or_objects_are_named(tmp_path, content):
    trees.fishyscapes_static(tmp_path)
    path = next((tmp_path / "fs_val_v3").glob("0000_*rgb.npz"))
    if content is None:
        np.savez(path, rgb=np.array([{"a": 1}], object))  # must never be unpickled
    else:
        path.write_bytes(content)
    with pytest.raises(OwsegError, match="cannot be read as differences") as caught:
        open_source(f"fishyscapes-static:{tmp_path}", "val").read(0)
    assert str(path) in str(caught.value)


def test_masks_finer_than_their_images_are_kept_to_evaluate_and_refused_to_train(tmp_path):
    tree = trees.collected(tmp_path, masks="labels_masks_fullres")
    for path, _, _ in tree.frames["val"].values():
        with Image.open(path) as image:
            image.resize((3, 2)).save(path)
    spec, kb = f"fishyscapes-lostfound:{tmp_path}", LabelSpace.of(["road"])
    sample = open_dataset(spec, "val", kb)[0]
    assert sample.image.shape == (3, 2, 3) and sample.target.shape == trees.SIZE
    assert np.array_equal(sample.target == UNKNOWN, tree.frames["val"]["0"][2] == "anomaly")
    with pytest.raises(OwsegError, match="not trained on"):
        open_dataset(spec, "val", kb, train=True)[0]
    (tmp_path / "labels_masks_fullres").rename(tmp_path / "labels_masks")
    with pytest.raises(OwsegError, match="must be of one size"):
        open_dataset(f"roadanomaly21:{tmp_path}", "val", kb)[0]  # only where it is published so


@pytest.mark.parametrize("size", [(4, 3), (20, 14), (3, 2)])
def test_a_mask_of_another_shape_or_smaller_is_refused(tmp_path, size):
    """(width, height) of the image; the mask is 9x6."""
    tree = trees.collected(tmp_path)
    path = tree.frames["val"]["0"][0]
    with Image.open(path) as image:
        image.resize(size).save(path)
    data = open_dataset(f"fishyscapes-lostfound:{tmp_path}", "val")
    if size == (3, 2):
        assert data[0].target.shape == (6, 9)
    else:
        with pytest.raises(OwsegError, match="must be of one size"):
            data[0]


def test_camvid_is_divided_by_a_list_where_there_is_one(tmp_path):
    trees.camvid32(tmp_path)
    (tmp_path / "val.txt").write_text("/SegNet/CamVid/val/0016E5_08190.png x.png\n0001TP_008550_L\n\n")
    assert open_source(f"camvid32:{tmp_path}", "val").ids == ("0016E5_08190", "0001TP_008550")
    (tmp_path / "extra.txt").write_text("0016E5_00390\n")
    assert open_source(f"camvid32:{tmp_path}", "extra").ids == ("0016E5_00390",)
    (tmp_path / "val.txt").write_text("nowhere\n")
    with pytest.raises(OwsegError, match="names nowhere"):
        open_source(f"camvid32:{tmp_path}", "val")


def test_camvid_is_divided_as_segnet_divided_it(shared_data):
    for split in ("train", "val", "test"):
        ids = open_source(f"camvid:{shared_data / 'camvid'}", split).ids
        assert {split_of(id) for id in ids} == {split}


@pytest.mark.parametrize(
    ("spec", "folder", "frames", "image", "mask"),
    [
        ("roadanomaly21", "RoadAnomaly21", 10, (720, 1280), (720, 1280)),
        ("fishyscapes-lostfound", "FS_LostFound_1024x512", 100, (512, 1024), (1024, 2048)),
    ],
)
def test_the_real_anomaly_sets(shared_data, spec, folder, frames, image, mask):
    root = shared_data / "anomaly" / folder
    if not root.is_dir():
        pytest.skip(f"no {folder} in {shared_data}")
    data = open_dataset(f"{spec}:{root}", "val", LabelSpace.of(["road"]))
    assert len(data) == frames
    sample = data[1]
    raw = np.asarray(Image.open(next(root.glob("labels_masks*")) / f"{sample.id}.png"))
    assert sample.image.shape[1:] == image and sample.target.shape == raw.shape == mask
    assert np.array_equal(sample.target, np.select([raw == 0, raw == 1], [KNOWN, UNKNOWN], IGNORE))
