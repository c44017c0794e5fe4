"""What is broken, or meant to harm, ends in one sentence that names the file."""

import contextlib
import json
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from owseg.errors import OwsegError
from owseg.exchange import archive, coco, cvat, cvat_masks, labelme, labelstudio, read, recognise, write
from owseg.exchange.annotation import Annotation
from tests.support.shapes import masks

MASK = masks((7, 9))["holes"]
OBJECT = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": {"size": [7, 9], "counts": [63]}}
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "height": 7, "width": 9}],
    "annotations": [OBJECT],
    "categories": [{"id": 1, "name": "car"}],
}
SHAPE = 'label="car" left="0" top="0" width="9" height="7"'
REGION = {
    "type": "brushlabels",
    "original_width": 9,
    "original_height": 7,
    "value": {"format": "rle", "rle": labelstudio.encode(MASK), "brushlabels": ["car"]},
}
LABELME = {"imagePath": "a.jpg", "imageHeight": 7, "imageWidth": 9}


def with_object(**change):
    return {**COCO, "annotations": [{**OBJECT, **change}]}


def with_counts(counts, size=(7, 9)):
    return with_object(segmentation={"size": list(size), "counts": counts})


def with_picture(**change):
    return {**COCO, "images": [{**COCO["images"][0], **change}]}


COCO_CASES = [
    ([], "is not a COCO annotation|not a COCO"),
    ({**COCO, "categories": 7}, "not a COCO annotation"),
    ({**COCO, "categories": [{"id": 2, "name": "car"}]}, "1 is missing"),
    ({**COCO, "categories": [{"id": 1, "name": "a\nb"}]}, "one line"),
    ({**COCO, "categories": [{"id": 1, "name": ""}]}, "no name"),
    ({**COCO, "categories": [{"id": 1, "name": 5}]}, "no name"),
    ({**COCO, "images": []}, "not among the images"),
    (with_picture(height=0), "cannot be"),
    (with_picture(height=-7), "cannot be"),
    (with_picture(height=7.5), "cannot be"),
    (with_picture(height="7"), "cannot be"),
    (with_picture(height=True), "cannot be"),
    (with_picture(height=10**5, width=10**5), "larger than"),
    (with_picture(height=10**30), "larger than"),
    (with_picture(height=float("inf")), "cannot be"),
    (with_picture(height=8), "its image"),
    (with_counts([62]), "62 pixels do not fit 9x7"),
    (with_counts([64]), "do not fit"),
    (with_counts([0, 2**40]), "do not fit"),
    (with_counts([70, -7]), "integers from 0"),
    (with_counts([63.0]), "integers from 0"),
    (with_counts(["63"]), "integers from 0"),
    (with_counts("n1"), "62 pixels do not fit"),
    (with_counts("~~"), "no run length"),
    (with_counts("é"), "no run length"),
    (with_counts("oo"), "cut off|no run length"),
    (with_counts("o" * 99), "no run length"),
    (with_counts(""), "do not fit"),
    (with_counts(None), "not a COCO"),
    (with_counts([63], (9, 7)), "its image"),
    (with_counts([63], (7, 9, 1)), "its image"),
    (with_object(segmentation=[]), "a box without a mask"),
    (with_object(segmentation=[[1, 1, 2, 2]]), "the object 1 of a.jpg is no polygon of three corners"),
    (with_object(segmentation=[[1, 1, 2, 2, 3]]), "three corners"),
    (with_object(segmentation=[[1, 1, 2, 2, 3, float("nan")]]), "outside"),
    (with_object(segmentation=[[1, 1, 2, 2, 3, 1e9]]), "the object 1 of a.jpg lies outside its image of 9x7"),
    (with_object(segmentation=[[1, 1, 2, 2, 3, "x"]]), "not a COCO"),
    (with_object(segmentation=7), "not a COCO"),
]


@pytest.mark.parametrize(("value", "message"), COCO_CASES)
def test_coco(tmp_path, value, message):
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(value))
    refused(path, "coco", message)


@pytest.mark.parametrize(
    ("color", "read_as"),
    [
        ([1, 2, 3], (1, 2, 3)),
        ([1.0, 2.4, 254.6], (1, 2, 255)),
        ("#2a1db8", (42, 29, 184)),
        ("red", None),
        ("", None),
        (None, None),
        ([1, 2, 300], None),
        ([1, 2], None),
        ([1, 2, float("nan")], None),
        ([True, False, True], None),
        ({"r": 1}, None),
    ],
)
def test_a_colour_is_no_reason_to_refuse_a_file(tmp_path, color, read_as):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**COCO, "categories": [{"id": 1, "name": "car", "color": color}]}))
    (annotation,) = read(path, "coco")
    assert annotation.color == read_as


def test_lines_beside_a_polygon_enclose_nothing(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(with_object(segmentation=[[1, 1, 2, 2], [0, 0, 4, 0, 4, 3, 0, 3]])))
    (annotation,) = read(path, "coco")
    path.write_text(json.dumps(with_object(segmentation=[[0, 0, 4, 0, 4, 3, 0, 3]])))
    assert np.array_equal(annotation.mask, next(read(path, "coco")).mask) and annotation.mask.any()


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (f'<mask {SHAPE} rle="62"/>', "do not fit"),
        (f'<mask {SHAPE} rle="70, -7"/>', "integers from 0"),
        (f'<mask {SHAPE} rle="x"/>', "not a CVAT"),
        (f'<mask {SHAPE} rle=""/>', "not a CVAT"),
        (f"<mask {SHAPE}/>", "'rle' is missing"),
        (f'<mask {SHAPE.replace("9", "10")} rle="70"/>', "outside a.jpg"),
        (
            f'<mask {SHAPE.replace("top=?0".replace("?", chr(34)), "top=?-1".replace("?", chr(34)))} rle="63"/>',
            "outside",
        ),
        (f'<mask {SHAPE.replace("9", "-9")} rle="63"/>', "cannot be"),
        (f'<mask {SHAPE.replace("9", "99999999")} rle="63"/>', "larger than"),
        ('<box label="car" xtl="0" ytl="0" xbr="3" ybr="3"/>', "car is a box in a.jpg"),
        ('<polygon label="car" points="1,1;2,2"/>', "car in a.jpg is no polygon of three corners"),
        ('<polygon label="car" points="1,1;2,2;1e12,3"/>', "car in a.jpg lies outside"),
        ('<polygon label="car" points="1,1;2,2;inf,3"/>', "outside"),
        ('<polygon label="" points="1,1;2,2;3,3"/>', "no name"),
        ("</image>", "no XML"),
    ],
)
def test_cvat(tmp_path, inside, message):
    path = tmp_path / "broken.xml"
    path.write_text(f'<annotations><image name="a.jpg" width="9" height="7">{inside}</image></annotations>')
    refused(path, "cvat", message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><annotations>&d;</annotations>', "document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>', "document type"),
        ("<annotations><track/></annotations>", "tracks of a video"),
        ("<annotations>", "no XML"),
        ("<other/>", "not a CVAT"),
        ('<annotations><image name="a" width="0" height="7"/></annotations>', "cannot be"),
        ('<annotations><image name="a" width="9999999" height="9999999"/></annotations>', "larger than"),
        ("<annotations><meta><label><name>a</name><color>red</color></label></meta></annotations>", "no colour"),
    ],
)
def test_cvat_files(tmp_path, text, message):
    path = tmp_path / "broken.xml"
    path.write_text(text)
    refused(path, "cvat", message)


def region(**change):
    return [{**REGION, **change}]


def brush(rle):
    return region(value={"rle": rle, "brushlabels": ["car"]})


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (region(original_width=8), "does not fit"),
        (region(original_width=10**6, original_height=10**6), "larger than"),
        (region(original_width=-9, original_height=-7), "cannot be"),
        (region(image_rotation=90), "turned by 90"),
        (brush(REGION["value"]["rle"][:-2]), "cut off"),
        (brush(REGION["value"]["rle"][:9]), "cut off"),
        (brush([]), "cut off"),
        (brush([256]), "from 0 to 255"),
        (brush([1.5]), "from 0 to 255"),
        (brush("abc"), "list of integers"),
        (brush([255] * 40), "does not fit"),
        (brush(labelstudio.encode(np.ones((7, 10), bool))), "does not fit"),
        (brush(REGION["value"]["rle"][:7] + [255] * 40), "more pixels"),
        (brush([0, 0, 0, 252, 57, 24, 252 // 2] + [0] * 3), "cut off|does not fit|more pixels"),
        (region(type="rectanglelabels", value={"x": 1, "y": 1, "rectanglelabels": ["car"]}), "car in a.jpg is of rect"),
        (region(value={"points": [[0, 0], [1, 1]], "polygonlabels": ["car"]}), "car in a.jpg is no polygon of three"),
        (region(value={"points": [[0, 0], [1, 1], [5, 1e9]], "polygonlabels": ["car"]}), "outside"),
        ([{"type": "brushlabels", "value": REGION["value"]}], "is missing"),
        (7, "not a Label Studio"),
    ],
)
def test_label_studio(tmp_path, result, message):
    path = tmp_path / "broken.json"
    path.write_text(json.dumps([{"data": {"image": "a.jpg"}, "annotations": [{"result": result}]}]))
    refused(path, "labelstudio", message)


def test_two_people_disagree(tmp_path):
    path = tmp_path / "two.json"
    two = [{"result": [REGION]}, {"result": region(value={"rle": REGION["value"]["rle"], "brushlabels": ["cow"]})}]
    task = {"data": {"image": "a.jpg"}, "annotations": two}
    path.write_text(json.dumps([task]))
    refused(path, "labelstudio", "a.jpg has 2 annotations")
    for mark in ({"was_cancelled": True}, {}):
        two[0] |= mark
        two[1] |= {} if mark else {"ground_truth": True}
        path.write_text(json.dumps([task]))
        assert [a.name for a in read(path)] == ["cow"]
        two[0].pop("was_cancelled", None)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"label": "car", "shape_type": "circle", "points": [[1, 1], [2, 2]]}, "car is a circle in a.jpg"),
        ({"label": "car", "points": [[1, 1], [2, 2]]}, "car in a.jpg is no polygon of three corners"),
        ({"label": "car", "points": [[1, 1], [2, 2], [1e7, 0]]}, "outside"),
        ({"label": "car", "shape_type": "mask", "points": [[8, 6], [9, 7]], "mask": "AAAA"}, "cannot be read"),
        ({"label": "car", "shape_type": "mask", "points": [[8, 6], [9, 7]]}, "is missing"),
        ({"points": [[1, 1], [2, 2], [3, 0]]}, "is missing"),
    ],
)
def test_labelme(tmp_path, shape, message):
    path = tmp_path / "broken.json"
    path.write_text(json.dumps({**LABELME, "shapes": [shape]}))
    refused(path, "labelme", message)


def test_a_labelme_mask_outside_of_its_picture(tmp_path):
    import base64
    import io

    buffer = io.BytesIO()
    Image.fromarray(np.ones((4, 4), bool)).save(buffer, "PNG")
    shape = {"label": "car", "shape_type": "mask", "mask": base64.b64encode(buffer.getvalue()).decode()}
    for corner, fine in (((2, 3), True), ((6, 3), False), ((2, 4), False), ((-1, 0), False)):
        path = tmp_path / "broken.json"
        path.write_text(json.dumps({**LABELME, "shapes": [{**shape, "points": [corner, (9, 9)]}]}))
        if fine:
            assert next(read(path)).mask[3:7, 2:6].all()
        else:
            refused(path, "labelme", "lies outside a.jpg")


def archived(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "name", ["../a.json", "a/../../b.json", "/etc/a.json", "..\\a.json", "C:\\a.json", "C:/a.json"]
)
def test_a_zip_whose_members_would_leave_it(tmp_path, name):
    path = archived(tmp_path / "slip.zip", {"fine.json": json.dumps(COCO), name: json.dumps(COCO)})
    refused(path, "coco", "would lie outside")
    with pytest.raises(OwsegError, match=r"slip\.zip.*would lie outside"):
        recognise(path)


def test_a_zip_that_would_fill_the_memory(tmp_path, monkeypatch):
    path = archived(tmp_path / "bomb.zip", {"a.json": b" " * (65 << 20)})
    refused(path, "coco", "unpacked; do not trust it")
    monkeypatch.setattr(archive, "MAX_UNPACKED", 1 << 20)
    path = archived(tmp_path / "many.zip", {f"{i}.json": b" " * (1 << 16) for i in range(17)})
    refused(path, "coco", "more than 0 GiB unpacked")


def test_a_zip_that_lies_about_its_size(tmp_path):
    """What a member declares is all that is ever unpacked of it."""
    path = archived(tmp_path / "liar.zip", {"a.json": b" " * (65 << 20)})
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 65 << 20), struct.pack("<I", 100)))
    refused(path, "coco", "cannot be unpacked|not a COCO")


def test_a_zip_that_is_none_or_encrypted(tmp_path):
    path = tmp_path / "none.zip"
    path.write_bytes(b"PK\3\4 no")
    refused(path, "coco", "cannot be unpacked")
    path = archived(tmp_path / "secret.zip", {"a.json": json.dumps(COCO)})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(bytes(data))
    refused(path, "coco", "encrypted")


def masks_zip(path, labelmap="background:0,0,0::\ncar:1,2,3::\n", image=None, **members):
    import io

    buffer = io.BytesIO()
    Image.fromarray(np.zeros((7, 9, 3), np.uint8) if image is None else image).save(buffer, "PNG")
    return archived(path, {"labelmap.txt": labelmap, "SegmentationClass/a.png": buffer.getvalue(), **members})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": np.full((7, 9, 3), 9, np.uint8)}, "a.png holds the colour #090909"),
        ({"image": np.full((7, 9), 2, np.uint8)}, "a.png holds the number 2"),
        ({"labelmap": "car:1,2,3::\ncow:1,2,3::"}, "the colour of another class"),
        ({"labelmap": "car:1,2,3::", "image": np.zeros((7, 9), np.uint8)}, "is grey"),
        ({"labelmap": "car"}, "not a CVAT"),
        ({"labelmap": "car:1,2::"}, "not a CVAT"),
        ({"labelmap": "car:1,2,x::"}, "not a CVAT"),
        ({"labelmap": "background:0,0,0::\ncar:1,2,999::", "image": np.full((7, 9), 1, np.uint8)}, "colour"),
        ({"labelmap": b"\xff\xfe"}, "not a CVAT"),
        ({"SegmentationClass/a.png": b"no"}, "cannot be read as an image"),
    ],
)
def test_segmentation_masks(tmp_path, options, message):
    refused(masks_zip(tmp_path / "broken.zip", **options), "cvat-masks", message)


def test_a_picture_of_many_pixels_is_not_unpacked(tmp_path):
    """A PNG that declares 100000x100000 is refused from its header."""
    import zlib

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
        ([("car", MASK, "a.png"), ("car", MASK, "a.jpg")], "have one name"),
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


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("", MASK, "a"), "no name of a class"),
        (("a\tb", MASK, "a"), "no name of a class"),
        (("a\ud800", MASK, "a"), "no name of a class"),
        (("a\x00", MASK, "a"), "no name of a class"),
        (("car", MASK, " "), "no name of an image"),
        (("car", MASK.astype(np.uint8), "a"), r"give \(H, W\) bool"),
        (("car", MASK[None], "a"), r"give \(H, W\) bool"),
        (("car", np.zeros((0, 5), bool), "a"), "cannot be"),
        (("car", MASK, "a", (1, 2)), "colour"),
        (("car", MASK, "a", (1, 2, -3)), "colour"),
    ],
)
def test_what_is_no_annotation(args, message):
    with pytest.raises(OwsegError, match=message):
        Annotation(*args)


def test_one_picture_has_one_size(tmp_path):
    made = [Annotation("car", MASK, "a.png"), Annotation("cow", MASK.T, "a.png")]
    with pytest.raises(OwsegError, match=r"a\.png has masks of two sizes, 9x7 and 7x9"):
        write(made, tmp_path, "coco")


@pytest.mark.parametrize("kind", ["coco", "labelstudio", "labelme", "cvat", "cvat-masks"])
def test_what_is_not_there_or_something_else(tmp_path, kind):
    refused(tmp_path / "no.json", kind, "does not exist")
    for name, data in (("a.json", b"{"), ("b.json", b"\xff"), ("c.json", b"[" * 200000), ("d.json", b'{"x": 1}')):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, kind, "is not|not a")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", kind, "not a")
    with pytest.raises(OwsegError, match=r"d\.json holds no annotations that are recognised"):
        read(tmp_path / "d.json")
    with pytest.raises(OwsegError, match="no format 'x'"):
        read(tmp_path / "d.json", "x")
    with pytest.raises(OwsegError, match="'labelme' cannot be written"):
        write([], tmp_path, "labelme")


def test_a_broken_file_beside_annotations_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(OwsegError, match=r"a\.json is not JSON .*; mend or remove it"):
        recognise(tmp_path)
    (tmp_path / "b.json").write_text(json.dumps(COCO))
    assert recognise(tmp_path) == "coco"
    with pytest.raises(OwsegError, match=r"a\.json is not JSON"):  # it may have been annotations
        list(read(tmp_path))
    assert [a.name for a in read(tmp_path / "b.json")] == ["car"]
    hidden = archived(tmp_path / "mac.zip", {"__MACOSX/._b.json": b"\0\5\x16\7", "b.json": json.dumps(COCO)})
    assert [a.name for a in read(hidden)] == ["car"]


def refused(path, kind, message):
    with pytest.raises(OwsegError, match=message) as caught:
        list(read(path, kind))
    assert path.name in str(caught.value) and "\n" not in str(caught.value)


KINDS = {"coco": coco, "cvat": cvat, "labelstudio": labelstudio, "labelme": labelme, "cvat-masks": cvat_masks}


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["coco", "cvat", "labelstudio"]))
def test_a_file_with_flipped_bytes_is_read_or_refused(tmp_path_factory, data, kind):
    """Never another exception, whatever a file holds."""
    folder = tmp_path_factory.mktemp("flipped")
    path = write([Annotation("car", MASK, "a.png", (1, 2, 3)), Annotation("cow", ~MASK, "b.png")], folder, kind)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.sampled_from(b'09-"[]{},.e<>&x/ \xff'))
    path.write_bytes(bytes(content))
    try:
        for a in read(path, kind):
            assert a.mask.dtype == bool
    except OwsegError as error:
        assert path.name in str(error)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=[chr(c) for c in range(48, 112)], max_size=12))
def test_any_string_of_run_lengths_is_a_mask_or_refused(text):
    from owseg.data.masks import mask_of

    try:
        mask = mask_of(coco.unfold(text), (3, 4), "F")
    except OwsegError:
        return
    from pycocotools import mask as api

    assert np.array_equal(mask, api.decode({"size": [3, 4], "counts": text.encode()}).astype(bool))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 255), max_size=12))
def test_any_bytes_of_a_brush_are_a_mask_or_refused(tail):
    head = labelstudio.encode(np.ones((3, 4), bool))[:7]
    with contextlib.suppress(OwsegError):
        assert labelstudio.decode([*head, *tail], (3, 4)).shape == (3, 4)
