"""LabelMe: what is refused, and masks in a box."""

import base64
import json

import numpy as np
import pytest

from owseg.exchange.formats import read
from tests.support.exports import png, refused

LABELME = {"imagePath": "a.jpg", "imageHeight": 7, "imageWidth": 9}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"label": "car", "shape_type": "circle", "points": [[1, 1], [2, 2]]}, "car is a circle in a.jpg"),
        ({"label": "car", "points": [[1, 1], [2, 2]]}, "car in a.jpg is not a polygon of three corners"),
        ({"label": "car", "points": [[1, 1], [2, 2], [1e7, 0]]}, "outside"),
        ({"label": "car", "shape_type": "mask", "points": [[8, 6], [9, 7]], "mask": "AAAA"}, "cannot be read"),
        ({"label": "car", "shape_type": "mask", "points": [[8, 6], [9, 7]]}, "is missing"),
        ({"points": [[1, 1], [2, 2], [3, 0]]}, "is missing"),
    ],
)
def test_shapes_that_are_refused(tmp_path, shape, message):
    path = tmp_path / "broken.json"
    path.write_text(json.dumps({**LABELME, "shapes": [shape]}))
    refused(path, "labelme", message)


def test_a_mask_outside_of_its_image(tmp_path):
    shape = {"label": "car", "shape_type": "mask", "mask": base64.b64encode(png(np.ones((4, 4), bool))).decode()}
    for corner, fine in (((2, 3), True), ((6, 3), False), ((2, 4), False), ((-1, 0), False)):
        path = tmp_path / "broken.json"
        path.write_text(json.dumps({**LABELME, "shapes": [{**shape, "points": [corner, (9, 9)]}]}))
        if fine:
            assert next(read(path)).mask[3:7, 2:6].all()
        else:
            refused(path, "labelme", "car in a.jpg is outside its image of 9x7")


def test_an_image_is_named_from_the_folder_of_its_file(tmp_path):
    """Frames of two videos may have one file name."""
    shape = {"label": "car", "points": [[1, 1], [5, 1], [5, 5]]}
    for file, image in (
        ("a/1.json", "1.jpg"),
        ("b/1.json", "1.jpg"),
        ("b/2.json", "..\\images\\2.jpg"),
        ("b/3.json", "C:\\x\\3.jpg"),
        ("b/4.json", "/home/x/4.jpg"),
        ("b/5.json", "../../x/5.jpg"),
    ):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(json.dumps({**LABELME, "imagePath": image, "shapes": [shape]}))
    found = [a.image for a in read(tmp_path)]
    assert found == ["a/1.jpg", "b/1.jpg", "images/2.jpg", "3.jpg", "4.jpg", "5.jpg"]
