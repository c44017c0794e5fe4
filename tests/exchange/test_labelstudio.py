"""Label Studio: what is refused, its addresses of images, its code of brush masks, and its predictions."""

import contextlib
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owseg.errors import OwsegError
from owseg.exchange.annotation import Annotation
from owseg.exchange.formats import read, write
from owseg.exchange.labelstudio import decode, encode
from tests.support.exports import MASK, refused
from tests.support.shapes import NAMES, as_tuples, masks

REGION = {
    "type": "brushlabels",
    "original_width": 9,
    "original_height": 7,
    "value": {"format": "rle", "rle": encode(MASK), "brushlabels": ["car"]},
}


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
        (brush(encode(np.ones((7, 10), bool))), "does not fit"),
        (brush(REGION["value"]["rle"][:7] + [255] * 40), "more pixels"),
        (brush([0, 0, 0, 252, 57, 24, 252 // 2] + [0] * 3), "cut off|does not fit|more pixels"),
        (region(type="rectanglelabels", value={"x": 1, "y": 1, "rectanglelabels": ["car"]}), "car in a.jpg is of rect"),
        (
            region(value={"points": [[0, 0], [1, 1]], "polygonlabels": ["car"]}),
            "car in a.jpg is not a polygon of three",
        ),
        (region(value={"points": [[0, 0], [1, 1], [5, 1e9]], "polygonlabels": ["car"]}), "outside"),
        ([{"type": "brushlabels", "value": REGION["value"]}], "is missing"),
        (7, "not a Label Studio"),
    ],
)
def test_regions_that_are_refused(tmp_path, result, message):
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


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 255), max_size=12))
def test_any_bytes_of_a_brush_are_a_mask_or_refused(tail):
    head = encode(np.ones((3, 4), bool))[:7]
    with contextlib.suppress(OwsegError):
        assert decode([*head, *tail], (3, 4)).shape == (3, 4)


def test_words_that_are_not_in_runs_are_read():
    """Its own encoder may store words one by one."""
    mask = masks((7, 9))["noise"]
    words = np.repeat(mask.ravel() * 255, 4).astype(np.uint8)
    bits = f"{len(words):032b}" + f"{7:05b}" + "".join(f"{s - 1:04b}" for s in (3, 4, 8, 16))
    for start in range(0, len(words), 10):
        chunk = words[start : start + 10]
        bits += "001" + f"{len(chunk) - 1:04b}" + "".join(f"{w:08b}" for w in chunk)
    bits += "0" * (-len(bits) % 8)
    assert np.array_equal(decode(list(int(bits, 2).to_bytes(len(bits) // 8, "big")), mask.shape), mask)


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
def test_addresses_name_images(tmp_path, address, image):
    path = write([Annotation("car", np.ones((2, 3), bool), "x.jpg")], tmp_path, "labelstudio")
    (task,) = json.loads(path.read_text())
    task["data"] = {"note": "n", "photo": address} if "upload" in address else {"image": address}
    path.write_text(json.dumps([task]))
    assert next(read(path)).image == image


def test_a_prediction_is_told_from_an_annotation(tmp_path):
    made = [Annotation("car", masks((8, 9))["holes"], "a.png", (1, 2, 3))]
    (task,) = json.loads(write(made, tmp_path, "labelstudio").read_text())
    assert "predictions" not in task and len(task["annotations"]) == 1
    path = write(made, tmp_path, "labelstudio", predicted=True)
    (task,) = json.loads(path.read_text())
    assert "annotations" not in task and len(task["predictions"]) == 1
    assert as_tuples(read(path)) == as_tuples(made)
    task["annotations"] = []  # as Label Studio exports a task that nobody corrected
    path.write_text(json.dumps([task]))
    assert list(read(path)) == []


@pytest.mark.parametrize(
    ("options", "address"),
    [({}, "/data/local-files/?d=b/%C3%BC%20a.png"), ({"url": "http://h/"}, "http://h/b/%C3%BC%20a.png")],
)
def test_an_image_is_at_the_address_that_is_asked_for(tmp_path, options, address):
    path = write([Annotation("car", np.ones((2, 3), bool), "b/ü a.png")], tmp_path, "labelstudio", options=options)
    (task,) = json.loads(path.read_text())
    assert task["data"]["image"] == address


def test_the_labelling_interface_is_beside_it(tmp_path):
    made = [Annotation(n, np.ones((2, 3), bool), "a.png", (1, 2, 255)) for n in NAMES]
    write(made, tmp_path / "l.json", "labelstudio")
    labels = ElementTree.parse(tmp_path / "l.labels.xml").findall("BrushLabels/Label")
    assert [x.get("value") for x in labels] == NAMES and {x.get("background") for x in labels} == {"#0102ff"}


def test_two_images_of_one_name_are_not_taken_for_one(tmp_path):
    path, made = tmp_path / "two.json", [{"result": [REGION]}]
    tasks = [{"data": {"image": f"s3://bucket/{folder}/a.jpg"}, "annotations": made} for folder in "xy"]
    path.write_text(json.dumps(tasks))
    refused(path, "labelstudio", "bucket/x/a.jpg and bucket/y/a.jpg are both a.jpg")
    path.write_text(json.dumps([tasks[0], {**tasks[0], "data": {"image": "s3://bucket/x/a.jpg?v=2"}}]))
    assert [a.image for a in read(path)] == ["a.jpg", "a.jpg"]
