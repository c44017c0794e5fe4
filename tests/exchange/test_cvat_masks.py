"""CVAT's zip of masks in colours: what it cannot hold, what is refused, and how it is laid out."""

import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from owseg.errors import OwsegError
from owseg.exchange.annotation import Annotation
from owseg.exchange.formats import read, write
from tests.support.exports import MASK, png, refused, zipped
from tests.support.shapes import as_tuples, masks


def masks_zip(path, labelmap="background:0,0,0::\ncar:1,2,3::\n", image=None, **members):
    mask = png(np.zeros((7, 9, 3), np.uint8) if image is None else image)
    return zipped(path, {"labelmap.txt": labelmap, "SegmentationClass/a.png": mask, **members})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": np.full((7, 9, 3), 9, np.uint8)}, "a.png holds the colour #090909"),
        ({"image": np.full((7, 9), 2, np.uint8)}, "a.png holds the number 2"),
        ({"labelmap": "car:1,2,3::\ncow:1,2,3::"}, "the colour of another class"),
        ({"labelmap": "car:1,2,3::", "image": np.zeros((7, 9), np.uint8)}, "is grey"),
        ({"labelmap": "", "image": np.zeros((7, 9), np.uint8)}, "is grey"),
        ({"labelmap": "car"}, "not a CVAT"),
        ({"labelmap": "car:1,2::"}, "not a CVAT"),
        ({"labelmap": "car:1,2,x::"}, "not a CVAT"),
        ({"labelmap": "background:0,0,0::\ncar:1,2,999::", "image": np.full((7, 9), 1, np.uint8)}, "colour"),
        ({"labelmap": b"\xff\xfe"}, "not a CVAT"),
        ({"SegmentationClass/a.png": b"no"}, "cannot be read as an image"),
    ],
)
def test_archives_that_are_refused(tmp_path, options, message):
    refused(masks_zip(tmp_path / "broken.zip", **options), "cvat-masks", message)


def test_an_image_of_many_pixels_is_not_unpacked(tmp_path):
    """A PNG that declares 100000x100000 is refused from its header."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 100000, 100000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    refused(
        masks_zip(tmp_path / "b.zip", **{"SegmentationClass/a.png": bomb}), "cvat-masks", "larger than|cannot be read"
    )


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([("car", MASK, "a.png"), ("cow", MASK, "a.png")], "cow and car overlap in a.png"),
        ([("a:b", MASK, "a.png")], "cannot hold a class 'a:b'"),
        ([("#a", MASK, "a.png")], "cannot hold"),
        ([(" a", MASK, "a.png")], "cannot hold"),
        ([("background", MASK, "a.png")], "cannot hold"),
        ([("car", MASK, "a.png"), ("car", MASK, "a.jpg")], "have one name without their suffixes"),
        ([("car", MASK, "../a.png")], "not a path below"),
        ([("car", MASK, "/a.png")], "not a path below"),
        ([("car", MASK, "a.png", (0, 0, 0))], "black"),
        ([("car", MASK, "a.png", (1, 0, 0)), ("cow", ~MASK, "a.png", (1, 0, 0))], "another class"),
        ([(f"c{i}", MASK, f"{i}.png") for i in range(256)], "255"),
    ],
)
def test_what_a_zip_of_masks_cannot_hold_is_not_written(tmp_path, made, message):
    with pytest.raises(OwsegError, match=message):
        write((Annotation(*m) for m in made), tmp_path, "cvat-masks")
    assert list(tmp_path.iterdir()) == []


def test_a_mask_is_in_the_colours_of_its_label_map(tmp_path):
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
    assert as_tuples(read(tmp_path / "unpacked")) == as_tuples(read(path))


def test_masks_of_numbers_are_read_by_the_order_of_classes(tmp_path):
    (tmp_path / "SegmentationClass").mkdir()
    (tmp_path / "labelmap.txt").write_text("# x\nbackground:0,0,0::\ncar:1,2,3::\ntree:4,5,6::\n")
    ids = np.array([[0, 1], [2, 2]], np.uint8)
    Image.fromarray(ids).save(tmp_path / "SegmentationClass" / "a.png")
    numbers = as_tuples(read(tmp_path))
    palette = Image.fromarray(np.array([[7, 5], [3, 3]], np.uint8))
    palette.putpalette([0] * 9 + [4, 5, 6, 0, 0, 0, 1, 2, 3] + [0] * 750)
    palette.save(tmp_path / "SegmentationClass" / "a.png")
    assert as_tuples(read(tmp_path)) == numbers
    assert [(n[1], np.frombuffer(n[4], bool).reshape(2, 2).tolist()) for n in numbers] == [
        ("car", (ids == 1).tolist()),
        ("tree", (ids == 2).tolist()),
    ]


def test_a_folder_of_two_exports_is_read_whole(tmp_path):
    for folder, image in (("one", "a.png"), ("two", "b.png")):
        path = write([Annotation("car", MASK, image)], tmp_path / "zips" / folder, "cvat-masks")
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / "both" / folder)
    assert [(a.name, a.image) for a in read(tmp_path / "both")] == [("car", "a"), ("car", "b")]


def test_a_label_map_may_begin_with_a_byte_order_mark(tmp_path):
    car = np.full((7, 9, 3), (1, 2, 3), np.uint8)
    labelmap = "# label:color_rgb:parts:actions\ncar:1,2,3::\n".encode("utf-8-sig")
    assert [a.name for a in read(masks_zip(tmp_path / "a.zip", labelmap, car))] == ["car"]
