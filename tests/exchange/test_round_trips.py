"""Every format gives back what it was given: masks to the pixel, names, colours, images."""

import json
import tempfile
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from owseg.data.masks import mask_of, runs_of
from owseg.errors import OwsegError
from owseg.exchange import WRITERS, coco, cvat, labelstudio, read, recognise, write
from owseg.exchange.annotation import Annotation
from tests.support.shapes import NAMES, masks, plain, sheets

FREE = ["coco", "cvat", "labelstudio"]
"""The formats in which masks may overlap."""


def back(annotations, kind):
    with tempfile.TemporaryDirectory() as folder:
        path = write(iter(annotations), folder, kind)
        assert path.name == f"annotations{WRITERS[kind]}"
        assert recognise(path) == kind
        assert recognise(folder) == (None if kind == "cvat-masks" else kind)
        return list(read(path))


def in_use(annotations):
    """Colours as they come back: one a class, and the first that is given counts."""
    return {a.name: a.color for a in annotations}


@pytest.mark.parametrize("kind", FREE)
@settings(max_examples=40, deadline=None)
@given(annotations=sheets())
def test_what_goes_out_comes_back(kind, annotations):
    assert plain(back(annotations, kind)) == plain(annotations)


@settings(max_examples=40, deadline=None)
@given(annotations=sheets([n for n in NAMES if ":" not in n and n[0] != "#" and n == n.strip()], overlap=False))
def test_a_zip_of_masks_gives_back_what_it_can_hold(annotations):
    colors = list(filter(None, in_use(annotations).values()))
    if (0, 0, 0) in colors or len(set(colors)) < len(colors):
        with pytest.raises(OwsegError, match="cannot tell them apart"):
            back(annotations, "cvat-masks")
        return
    returned = back(annotations, "cvat-masks")
    shown = [Annotation(a.name, a.mask, a.image[:-4], a.color) for a in annotations if a.mask.any()]
    assert sorted(plain(returned, colors=False)) == sorted(plain(shown, colors=False))
    assert all(in_use(annotations)[a.name] in (None, a.color) for a in returned)
    assert len(set(in_use(returned).values())) == len(in_use(returned))


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("size", [(7, 9), (64, 48), (1, 1), (1, 300), (300, 1)])
@pytest.mark.parametrize("shape", masks((7, 9)))
def test_hard_masks_come_back_to_the_pixel(kind, size, shape):
    if min(size) < 7:
        mask = masks((7, 9))[shape].ravel()[np.arange(size[0] * size[1]) % 63].reshape(size)
    else:
        mask = masks(size)[shape]
    returned = back([Annotation("car", mask, "a.png", (1, 2, 3))], kind)
    if kind == "cvat-masks" and not mask.any():
        assert returned == []
        return
    (a,) = returned
    assert np.array_equal(a.mask, mask) and a.mask.dtype == bool
    assert (a.name, a.color) == ("car", (1, 2, 3))


def test_a_large_mask_comes_back(tmp_path):
    """Runs longer than Label Studio's longest, 2^16 words."""
    mask = np.zeros((700, 900), bool)
    mask[300:, 5:] = True
    for kind in WRITERS:
        (a,) = read(write([Annotation("car", mask, "a.png")], tmp_path / kind, kind))
        assert np.array_equal(a.mask, mask)


@settings(max_examples=20, deadline=None)
@given(annotations=sheets(["car", "Straße"], overlap=False))
def test_round_all_tools_and_home(annotations):
    there = annotations
    for kind in (*FREE, *reversed(FREE)):
        there = back(there, kind)
    assert plain(there) == plain(annotations)


@pytest.mark.parametrize("kind", FREE)
def test_a_class_marked_twice_is_marked_where_either_is(kind):
    shapes = masks((8, 9))
    made = [Annotation("car", shapes[n], "a.png", c) for n, c in (("holes", None), ("columns", (9, 8, 7)))]
    (a,) = back(made, kind)
    assert np.array_equal(a.mask, shapes["holes"] | shapes["columns"]) and a.color == (9, 8, 7)


@pytest.mark.parametrize("kind", WRITERS)
def test_the_same_annotations_are_the_same_bytes(tmp_path, kind):
    made = [Annotation("car", masks((8, 9))["holes"], "a.png", (1, 2, 3))]
    one, two = (write(made, tmp_path / n, kind).read_bytes() for n in "ab")
    assert one == two


def test_a_prediction_is_told_from_an_annotation(tmp_path):
    made = [Annotation("car", masks((8, 9))["holes"], "a.png", (1, 2, 3))]
    path = write(made, tmp_path, "labelstudio", predicted=True)
    (task,) = json.loads(path.read_text())
    assert "annotations" not in task and len(task["predictions"]) == 1
    assert plain(read(path)) == plain(made)
    task["annotations"] = []  # as Label Studio exports a task that nobody corrected
    path.write_text(json.dumps([task]))
    assert list(read(path)) == []
    path = write(made, tmp_path, "cvat", predicted=True)
    assert ElementTree.parse(path).find("image/mask").get("source") == "auto"


def test_what_to_set_up_the_tool_with_is_beside_it(tmp_path):
    made = [Annotation(n, np.ones((2, 3), bool), "a.png", (1, 2, 255)) for n in NAMES]
    write(made, tmp_path / "c.xml", "cvat")
    labels = json.loads((tmp_path / "c.labels.json").read_text())
    assert labels[3] == {"name": NAMES[3], "color": "#0102ff", "type": "mask", "attributes": []}
    write(made, tmp_path / "l.json", "labelstudio")
    shown = ElementTree.parse(tmp_path / "l.labels.xml").findall("BrushLabels/Label")
    assert [x.get("value") for x in shown] == NAMES and {x.get("background") for x in shown} == {"#0102ff"}


@pytest.mark.parametrize(
    ("address", "image"),
    [
        ("/data/local-files/?d=photos/a%20b.jpg", "photos/a b.jpg"),
        ("/data/upload/3/1a2b3c4d-a.jpg", "1a2b3c4d-a.jpg"),
        ("https://host/x/a%20b.jpg?sig=1", "a b.jpg"),
        ("s3://bucket/x/a.jpg", "a.jpg"),
        ("a.jpg", "a.jpg"),
    ],
)
def test_label_studios_addresses_name_pictures(tmp_path, address, image):
    path = write([Annotation("car", np.ones((2, 3), bool), "x.jpg")], tmp_path, "labelstudio")
    (task,) = json.loads(path.read_text())
    task["data"] = {"note": "n", "photo": address} if "upload" in address else {"image": address}
    path.write_text(json.dumps([task]))
    assert next(read(path)).image == image


@settings(max_examples=100, deadline=None)
@given(annotations=sheets(["car"]))
def test_run_lengths_and_code_of_strings(annotations):
    from owseg.data.masks import packed

    for a in annotations:
        runs = runs_of(a.mask)
        assert np.array_equal(mask_of(runs, a.mask.shape), a.mask)
        assert all(r > 0 for r in runs[1:])
        assert coco.unfold(packed(a.mask)["counts"].decode()) == runs_of(a.mask.T)


def test_a_mask_drawn_in_a_zip_is_in_the_colours_of_its_label_map(tmp_path):
    shapes = masks((8, 9))
    made = [
        Annotation("car", shapes["columns"], "d/a.png", (10, 20, 30)),
        Annotation("tree", ~shapes["columns"], "d/a.png"),
    ]
    path = write(made, tmp_path, "cvat-masks")
    with zipfile.ZipFile(path) as archive:
        assert "car:10,20,30::" in archive.read("labelmap.txt").decode().splitlines()
        assert archive.read("ImageSets/Segmentation/default.txt") == b"d/a\n"
        archive.extractall(tmp_path / "unpacked")
    drawn = np.asarray(Image.open(tmp_path / "unpacked" / "SegmentationClass" / "d" / "a.png"))
    assert (drawn[shapes["columns"]] == (10, 20, 30)).all()
    instances = np.asarray(Image.open(tmp_path / "unpacked" / "SegmentationObject" / "d" / "a.png"))
    assert len(np.unique(instances.reshape(-1, 3), axis=0)) == 2
    assert plain(read(tmp_path / "unpacked")) == plain(read(path))


def test_masks_of_numbers_are_read_by_the_order_of_classes(tmp_path):
    (tmp_path / "SegmentationClass").mkdir()
    (tmp_path / "labelmap.txt").write_text("# x\nbackground:0,0,0::\ncar:1,2,3::\ntree:4,5,6::\n")
    ids = np.array([[0, 1], [2, 2]], np.uint8)
    Image.fromarray(ids).save(tmp_path / "SegmentationClass" / "a.png")
    numbers = plain(read(tmp_path))
    palette = Image.fromarray(np.array([[7, 5], [3, 3]], np.uint8))
    palette.putpalette([0] * 9 + [4, 5, 6, 0, 0, 0, 1, 2, 3] + [0] * 750)
    palette.save(tmp_path / "SegmentationClass" / "a.png")
    assert plain(read(tmp_path)) == numbers
    assert [(n[1], np.frombuffer(n[4], bool).reshape(2, 2).tolist()) for n in numbers] == [
        ("car", (ids == 1).tolist()),
        ("tree", (ids == 2).tolist()),
    ]


def test_an_export_of_thousands_is_never_held_in_memory(tmp_path):
    """A writer takes one annotation at a time; a reader gives one at a time."""
    alive = []

    def many():
        import weakref

        for i in range(50):
            mask = np.ones((50, 60), bool)
            alive.append(weakref.ref(mask))
            yield Annotation("car", mask, f"{i}.png")
            del mask
            assert sum(r() is not None for r in alive) <= 2

    path = cvat.write(many(), tmp_path / "a.xml")
    assert sum(1 for _ in read(path)) == 50


def test_label_studio_reads_what_is_not_in_runs():
    """Its own encoder may store words one by one."""
    mask = masks((7, 9))["noise"]
    words = np.repeat(mask.ravel() * 255, 4).astype(np.uint8)
    bits = f"{len(words):032b}" + f"{7:05b}" + "".join(f"{s - 1:04b}" for s in (3, 4, 8, 16))
    for start in range(0, len(words), 10):
        chunk = words[start : start + 10]
        bits += "001" + f"{len(chunk) - 1:04b}" + "".join(f"{w:08b}" for w in chunk)
    bits += "0" * (-len(bits) % 8)
    assert np.array_equal(labelstudio.decode(list(int(bits, 2).to_bytes(len(bits) // 8, "big")), mask.shape), mask)
