"""The tools' own libraries see the masks that owseg sees.

``made/`` holds what they wrote of ``shapes.masks((17, 23))``: datumaro 1.13 (COCO, CVAT XML, the zip of masks),
label-studio-sdk 2.1 (brushes; the task around them by hand, as an export looks) and labelme 6.3 (what it draws). The
other way, pycocotools is always here. The rest pin much else, so they are asked where they are installed: in an
environment of their own, ``pip install -e '.[dev]' cvat-sdk[masks] label-studio-sdk`` or ``datumaro``.
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from owseg.exchange.annotation import Annotation
from owseg.exchange.cvat import mask_attributes
from owseg.exchange.formats import read, write
from owseg.exchange.labelstudio import encode
from tests.support.shapes import masks

MADE = Path(__file__).parent / "made"
SIZE = (17, 23)
CAR, STREET = "car", "Straße & <b>"


def expected(size=SIZE):
    """Where each class is, by image and name: the hard masks are cars, and the rest is the street."""
    shown = {n.replace(" ", "_"): m for n, m in masks(size).items() if m.any()}
    both = {(n, name): m if name == CAR else ~m for n, m in shown.items() for name in (CAR, STREET)}
    return {key: m for key, m in both.items() if m.any()}


def annotations(size=SIZE):
    colors = {CAR: (10, 20, 30), STREET: (200, 20, 30)}
    return [Annotation(name, m, f"{image}.jpg", colors[name]) for (image, name), m in expected(size).items()]


def same(found, wanted):
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("file", ["coco.json", "cvat.xml", "cvat-masks.zip", "labelstudio.json"])
def test_what_the_tools_wrote_is_read(file):
    found = list(read(MADE / file))
    same({(a.image.split("-")[-1].removesuffix(".jpg"), a.name): a.mask for a in found}, expected())
    if file == "cvat-masks.zip":
        assert {a.name: a.color for a in found} == {CAR: (10, 20, 30), STREET: (200, 20, 30)}


def test_polygons_are_drawn_as_labelme_draws_them():
    drawn = json.loads((MADE / "labelme-drawn.json").read_text())
    found = list(read(MADE / "labelme.json"))
    assert {a.image for a in found} == {"a.jpg"}
    same(
        {a.name: a.mask for a in found},
        {n: np.array([[c == "#" for c in r] for r in rows]) for n, rows in drawn.items()},
    )


def test_polygons_are_drawn_as_the_coco_api_draws_them(tmp_path):
    """In COCO's, CVAT's and Label Studio's files alike; several of one object are joined."""
    from pycocotools.coco import COCO

    polygons = [[2.0, 1.0, 20.5, 3.2, 15.0, 15.9, 4.4, 12.0], [-3, 12, 6, 12, 6, 20, -3, 20]]
    image = {"id": 7, "file_name": "a.jpg", "height": 17, "width": 23}
    item = {"id": 1, "image_id": 7, "category_id": 3, "segmentation": polygons, "iscrowd": 0, "area": 1, "bbox": []}
    value = {"images": [image], "annotations": [item], "categories": [{"id": 3, "name": CAR}]}
    path = tmp_path / "polygons.json"
    path.write_text(json.dumps(value))
    api = COCO(str(path))
    wanted = api.annToMask(api.loadAnns([1])[0]).astype(bool)
    assert 100 < wanted.sum() < 300
    corners = [list(zip(p[::2], p[1::2], strict=True)) for p in polygons]
    shapes = "".join(f'<polygon label="car" points="{";".join(f"{x},{y}" for x, y in c)}"/>' for c in corners)
    xml = tmp_path / "polygons.xml"
    xml.write_text(f'<annotations><image name="a.jpg" width="23" height="17">{shapes}</image></annotations>')
    result = [
        {
            "type": "polygonlabels",
            "original_width": 23,
            "original_height": 17,
            "value": {"points": [[x / 0.23, y / 0.17] for x, y in c], "closed": True, "polygonlabels": [CAR]},
        }
        for c in corners
    ]
    studio = tmp_path / "studio.json"
    studio.write_text(json.dumps([{"data": {"image": "a.jpg"}, "annotations": [{"result": result}]}]))
    for file in (path, xml, studio):
        (a,) = read(file)
        assert np.array_equal(a.mask, wanted), file


def test_the_coco_api_reads_what_is_written(tmp_path):
    from pycocotools.coco import COCO

    api = COCO(str(write(annotations(), tmp_path, "coco")))
    found = {}
    for item in api.loadAnns(api.getAnnIds()):
        name = api.loadCats(item["category_id"])[0]["name"]
        mask = api.annToMask(item).astype(bool)
        found[api.loadImgs(item["image_id"])[0]["file_name"].removesuffix(".jpg"), name] = mask
        rows, columns = np.nonzero(mask)
        left, top, width, height = item["bbox"]
        assert item["area"] == mask.sum() and item["iscrowd"] == 1
        assert (left, top, left + width - 1, top + height - 1) == (
            *(columns.min(), rows.min()),
            columns.max(),
            rows.max(),
        )
    same(found, expected())
    assert {c["name"]: c["color"] for c in api.dataset["categories"]} == {CAR: [10, 20, 30], STREET: [200, 20, 30]}


@pytest.mark.parametrize("size", [SIZE, (64, 48), (300, 500)])
def test_label_studio_reads_and_writes_the_same_bytes(size):
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    for mask in masks(size).values():
        ours, theirs = encode(mask), brush.mask2rle(mask.astype(np.uint8) * 255)
        assert ours == theirs or [*ours, 0] == theirs  # it pads by a byte that need not be
        assert np.array_equal(np.reshape(brush.decode_rle(ours), (*size, 4))[:, :, 3] > 0, mask)


@pytest.mark.parametrize("size", [SIZE, (64, 48)])
def test_cvat_has_the_same_box_and_runs(size):
    sdk = pytest.importorskip("cvat_sdk.masks")
    for mask in masks(size).values():
        box = mask_attributes(mask)
        left, top, width, height = (int(box[k]) for k in ("left", "top", "width", "height"))
        encoded = [*map(int, box["rle"].split(",")), left, top, left + width - 1, top + height - 1]
        assert encoded == sdk.encode_mask(mask)
        assert np.array_equal(sdk.decode_mask(encoded, image_width=size[1], image_height=size[0]), mask)


@pytest.mark.parametrize(
    ("kind", "theirs"), [("coco", "coco_instances"), ("cvat", "cvat"), ("cvat-masks", "voc_segmentation")]
)
def test_datumaro_reads_what_is_written(tmp_path, kind, theirs):
    datumaro = pytest.importorskip("datumaro")
    folder = {"coco": tmp_path / "annotations" / "instances_default.json", "cvat": tmp_path / "a.xml"}
    path = write(annotations(), folder.get(kind, tmp_path / "a.zip"), kind)
    for beside in tmp_path.glob("*.labels.json"):
        beside.unlink()
    if kind == "cvat-masks":
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path)
        path.unlink()
    images = tmp_path / "images" / ("default" if kind == "coco" else "")
    images.mkdir(parents=True)
    for image, _ in expected():
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(images / f"{image}.jpg")
    data = datumaro.Dataset.import_from(str(tmp_path), theirs)
    names, found = data.categories()[datumaro.AnnotationType.label], {}
    for item in data:
        for a in item.annotations:
            if a.type == datumaro.AnnotationType.mask:
                found[item.id, names[a.label].name] = np.asarray(a.image).astype(bool)
    same(found, expected())
