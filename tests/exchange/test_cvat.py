"""CVAT for images: what is refused, and what is written for the tool."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from owseg.exchange.annotation import Annotation
from owseg.exchange.formats import write
from tests.support.exports import refused
from tests.support.shapes import NAMES, masks

SHAPE = 'label="car" left="0" top="0" width="9" height="7"'


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (f'<mask {SHAPE} rle="62"/>', "do not fit"),
        (f'<mask {SHAPE} rle="70, -7"/>', "integers from 0"),
        (f'<mask {SHAPE} rle="x"/>', "not a CVAT"),
        (f'<mask {SHAPE} rle=""/>', "not a CVAT"),
        (f"<mask {SHAPE}/>", "'rle' is missing"),
        (f'<mask {SHAPE.replace("9", "10")} rle="70"/>', "outside its image of 9x7"),
        (
            f'<mask {SHAPE.replace("top=?0".replace("?", chr(34)), "top=?-1".replace("?", chr(34)))} rle="63"/>',
            "outside",
        ),
        (f'<mask {SHAPE.replace("9", "-9")} rle="63"/>', "cannot be"),
        (f'<mask {SHAPE.replace("9", "99999999")} rle="63"/>', "larger than"),
        ('<box label="car" xtl="0" ytl="0" xbr="3" ybr="3"/>', "car is a box in a.jpg"),
        ('<polygon label="car" points="1,1;2,2"/>', "car in a.jpg is not a polygon of three corners"),
        ('<polygon label="car" points="1,1;2,2;1e12,3"/>', "car in a.jpg is outside"),
        ('<polygon label="car" points="1,1;2,2;inf,3"/>', "outside"),
        ('<polygon label="" points="1,1;2,2;3,3"/>', "cannot be the name of a class"),
        ("</image>", "not XML"),
    ],
)
def test_shapes_that_are_refused(tmp_path, inside, message):
    path = tmp_path / "broken.xml"
    path.write_text(f'<annotations><image name="a.jpg" width="9" height="7">{inside}</image></annotations>')
    refused(path, "cvat", message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><annotations>&d;</annotations>', "document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>', "document type"),
        ("<annotations><track/></annotations>", "tracks of a video"),
        ("<annotations>", "not XML"),
        ("<other/>", "not a CVAT"),
        ('<annotations><image name="a" width="0" height="7"/></annotations>', "cannot be"),
        ('<annotations><image name="a" width="9999999" height="9999999"/></annotations>', "larger than"),
        ("<annotations><meta><label><name>a</name><color>red</color></label></meta></annotations>", "not a colour"),
    ],
)
def test_files_that_are_refused(tmp_path, text, message):
    path = tmp_path / "broken.xml"
    path.write_text(text)
    refused(path, "cvat", message)


@pytest.mark.parametrize(("predicted", "source"), [(True, "auto"), (False, "manual")])
def test_a_prediction_is_told_from_an_annotation(tmp_path, predicted, source):
    path = write([Annotation("car", masks((8, 9))["holes"], "a.png")], tmp_path, "cvat", predicted)
    assert ElementTree.parse(path).find("image/mask").get("source") == source


@pytest.mark.parametrize(("format", "name"), [("cvat", "c.xml"), ("cvat-masks", "c.zip")])
def test_the_labels_of_a_task_are_beside_it(tmp_path, format, name):
    names = NAMES if format == "cvat" else ["car", "Straße", "人", "<b>&\"'amp;</b>"]
    made = [Annotation(n, np.eye(8, dtype=bool)[i : i + 1], "a.png", (1, 2, 255 - i)) for i, n in enumerate(names[:8])]
    write(made, tmp_path / name, format)
    labels = json.loads((tmp_path / "c.labels.json").read_text())
    assert [label["name"] for label in labels] == names[:8]
    assert labels[3] == {"name": names[3], "color": "#0102fc", "type": "mask", "attributes": []}
