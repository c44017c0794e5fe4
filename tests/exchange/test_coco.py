"""COCO: what is refused, in one sentence that names the file, and what is read though a tool wrote it oddly."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as api

from owseg.data.masks import Rle, decode_counts
from owseg.errors import OwsegError
from owseg.exchange.formats import read
from tests.support.exports import COCO, OBJECT, refused


def with_object(**change):
    return {**COCO, "annotations": [{**OBJECT, **change}]}


def with_counts(counts, size=(7, 9)):
    return with_object(segmentation={"size": list(size), "counts": counts})


def with_image(**change):
    return {**COCO, "images": [{**COCO["images"][0], **change}]}


COCO_CASES = [
    ([], "is not a COCO annotation|not a COCO"),
    ({**COCO, "categories": 7}, "not a COCO annotation"),
    ({**COCO, "categories": [{"id": 2, "name": "car"}]}, "1 is missing"),
    ({**COCO, "categories": [{"id": 1, "name": "a\nb"}]}, "one line"),
    ({**COCO, "categories": [{"id": 1, "name": ""}]}, "cannot be the name of a class"),
    ({**COCO, "categories": [{"id": 1, "name": 5}]}, "cannot be the name of a class"),
    ({**COCO, "images": []}, "not among the images"),
    (with_image(height=0), "cannot be"),
    (with_image(height=-7), "cannot be"),
    (with_image(height=7.5), "cannot be"),
    (with_image(height="7"), "cannot be"),
    (with_image(height=True), "cannot be"),
    (with_image(height=10**5, width=10**5), "larger than"),
    (with_image(height=10**30), "larger than"),
    (with_image(height=float("inf")), "cannot be"),
    (with_image(height=8), "its image"),
    (with_counts([62]), "62 pixels do not fit 9x7"),
    (with_counts([64]), "do not fit"),
    (with_counts([0, 2**40]), "do not fit"),
    (with_counts([70, -7]), "integers from 0"),
    (with_counts([63.0]), "integers from 0"),
    (with_counts(["63"]), "integers from 0"),
    (with_counts("n1"), "62 pixels do not fit"),
    (with_counts("~~"), "other than run lengths"),
    (with_counts("é"), "other than run lengths"),
    (with_counts("oo"), "cut off|other than run lengths"),
    (with_counts("o" * 99), "other than run lengths"),
    (with_counts(""), "do not fit"),
    (with_counts(None), "not a COCO"),
    (with_counts([63], (9, 7)), "its image"),
    (with_counts([63], (7, 9, 1)), "its image"),
    (with_object(segmentation=[]), "a box without a mask"),
    (with_object(segmentation=[[1, 1, 2, 2]]), "the object 1 of a.jpg is not a polygon of three corners"),
    (with_object(segmentation=[[1, 1, 2, 2, 3]]), "three corners"),
    (with_object(segmentation=[[1, 1, 2, 2, 3, float("nan")]]), "outside"),
    (with_object(segmentation=[[1, 1, 2, 2, 3, 1e9]]), "the object 1 of a.jpg is outside its image of 9x7"),
    (with_object(segmentation=[[1, 1, 2, 2, 3, "x"]]), "not a COCO"),
    (with_object(segmentation=7), "not a COCO"),
]


@pytest.mark.parametrize(("value", "message"), COCO_CASES)
def test_what_is_refused(tmp_path, value, message):
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


def test_an_object_of_several_polygons_is_all_of_them(tmp_path):
    """As one that is partly hidden is outlined."""
    left, right = [0, 0, 4, 0, 4, 3, 0, 3], [6, 1, 9, 1, 9, 7, 6, 7]
    masks = []
    for number, polygons in enumerate(([left], [right], [left, right])):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(with_object(segmentation=polygons)))
        masks.append(next(read(path, "coco")).mask)
    assert masks[0].any() and masks[1].any() and not (masks[0] & masks[1]).any()
    assert np.array_equal(masks[2], masks[0] | masks[1])


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=[chr(c) for c in range(48, 112)], max_size=12))
def test_any_string_of_run_lengths_is_a_mask_or_refused(text):
    try:
        mask = Rle.from_counts(decode_counts(text), (3, 4)).mask()
    except OwsegError:
        return
    assert np.array_equal(mask, api.decode({"size": [3, 4], "counts": text.encode()}).astype(bool))
