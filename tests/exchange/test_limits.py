"""Annotations of a few bytes that would take long or much memory, and those near a limit, which are read."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageDraw

from owseg.data.masks import MAX_PIXELS, Rle
from owseg.errors import OwsegError
from owseg.exchange import annotation, archive, shapes
from owseg.exchange.annotation import by_class
from owseg.exchange.archive import Files, opened
from owseg.exchange.formats import read
from owseg.exchange.shapes import Canvas
from tests.support.exports import COCO, refused, zipped

SIDE = 8192


def coco(polygons, size=(SIDE, SIDE), categories=1):
    objects = [{"id": i, "image_id": 1, "category_id": 1 + i % categories, "segmentation": [p]}
               for i, p in enumerate(polygons)]  # fmt: skip
    images = [{"id": 1, "file_name": "a.jpg", "height": size[0], "width": size[1]}]
    return {"images": images, "annotations": objects,
            "categories": [{"id": 1 + i, "name": f"c{i}"} for i in range(categories)]}  # fmt: skip


def zigzag(corners, side=SIDE):
    """A polygon x, y, x, y, ... that goes up and down over the whole image."""
    x, y = np.linspace(0, side - 1, corners), np.tile([0, side - 1], corners // 2)
    return np.stack([x, y], 1).ravel().round(2).tolist()


def written(path, value):
    path.write_text(json.dumps(value))
    return path


def labelme(polygon, number=1):
    shape = {"label": "car", "points": np.reshape(polygon, (-1, 2)).tolist()}
    return {"imagePath": "a.jpg", "imageHeight": SIDE, "imageWidth": SIDE, "shapes": [shape] * number}


def cvat(polygon):
    points = ";".join(f"{x},{y}" for x, y in np.reshape(polygon, (-1, 2)))
    shape = f'<polygon label="car" points="{points}"/>'
    return f'<annotations><image name="a.jpg" width="{SIDE}" height="{SIDE}">{shape}</image></annotations>'


def labelstudio(polygon):
    value = {"polygonlabels": ["car"], "points": (np.reshape(polygon, (-1, 2)) * 100 / SIDE).tolist()}
    region = {"type": "polygonlabels", "original_width": SIDE, "original_height": SIDE, "value": value}
    return [{"data": {"image": "a.jpg"}, "annotations": [{"result": [region]}]}]


TOO_MUCH = "the shapes in a.jpg are more than are drawn in one image; remove some"


def test_outlines_that_are_too_long_are_refused_by_every_format(tmp_path):
    long = zigzag(2100)  # 17.2 million pixels
    assert 2100 * (SIDE - 1) > shapes.MAX_OUTLINE > 2000 * SIDE
    refused(written(tmp_path / "a.json", coco([long])), "coco", TOO_MUCH)
    refused(written(tmp_path / "b.json", labelme(long)), "labelme", TOO_MUCH)
    refused(written(tmp_path / "c.json", labelstudio(long)), "labelstudio", TOO_MUCH)
    (tmp_path / "d.xml").write_text(cvat(long))
    refused(tmp_path / "d.xml", "cvat", TOO_MUCH)


def test_the_limits_are_of_an_image_not_of_a_shape_or_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "MAX_OUTLINE", 100)
    square = [1, 1, 9, 1, 9, 9, 1, 9]  # an outline of 32
    assert len(list(read(written(tmp_path / "a.json", coco([square] * 3, (10, 10)))))) == 1
    refused(written(tmp_path / "a.json", coco([square] * 4, (10, 10))), "coco", TOO_MUCH)
    two = coco([square] * 4, (10, 10))
    two["images"].append({**two["images"][0], "id": 2, "file_name": "b.jpg"})
    for o in two["annotations"][2:]:
        o["image_id"] = 2
    assert len(list(read(written(tmp_path / "a.json", two)))) == 2
    assert len(list(read(written(tmp_path / "a.json", coco([], (10, 10)))))) == 0


def test_many_boxes_of_a_large_image_are_refused(tmp_path):
    assert 17 * MAX_PIXELS > shapes.MAX_DRAWN == 16 * MAX_PIXELS
    canvas = Canvas("a.jpg", (SIDE, SIDE))
    for _ in range(16):
        canvas.box(0, 0, SIDE, SIDE, "car in a.jpg")
    with pytest.raises(OwsegError, match=TOO_MUCH):
        canvas.box(3, 3, 1, 1, "car in a.jpg")
    for inside in ((0, 0, SIDE + 1, 1), (-1, 0, 1, 1), (0, SIDE, 1, 1), (0, 0, 0, 5)):
        with pytest.raises(OwsegError, match=r"is outside its image of|an image cannot be"):
            Canvas("a.jpg", (SIDE, SIDE)).box(*inside, "car in a.jpg")


def test_boxes_count_in_every_format_that_draws_them(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "MAX_DRAWN", 100)
    (tmp_path / "d.xml").write_text(
        '<annotations><image name="a.jpg" width="99" height="99">'
        + '<mask label="car" left="1" top="1" width="9" height="6" rle="54"/>' * 2 + "</image></annotations>"
    )  # fmt: skip
    refused(tmp_path / "d.xml", "cvat", TOO_MUCH)
    refused(written(tmp_path / "b.json", labelme([1, 1, 20, 1, 20, 20, 1, 20])), "labelme", TOO_MUCH)
    brush = {"brushlabels": ["car"], "rle": [0], "format": "rle"}
    region = {"type": "brushlabels", "original_width": 11, "original_height": 10, "value": brush}
    task = {"data": {"image": "a.jpg"}, "annotations": [{"result": [region]}]}
    refused(written(tmp_path / "c.json", [task]), "labelstudio", TOO_MUCH)


def test_an_image_of_two_sizes_is_refused(tmp_path):
    task = labelstudio([1, 1, 9, 1, 9, 9])
    other = json.loads(json.dumps(task[0]["annotations"][0]["result"][0]))
    task[0]["annotations"][0]["result"].append({**other, "original_width": 99})
    refused(written(tmp_path / "c.json", task), "labelstudio", "a.jpg has masks of two sizes")


def test_large_images_have_fewer_classes():
    one = Rle.of_polygon([1, 1, 9, 1, 9, 9], (SIDE, SIDE))
    assert next(by_class("a.jpg", [(f"c{i}", one) for i in range(32)], {})).name == "c0"
    with pytest.raises(OwsegError, match=r"a\.jpg has more than 32 classes; remove some"):
        next(by_class("a.jpg", [(f"c{i}", one) for i in range(33)], {}))


def test_shapes_and_classes_of_an_image_have_a_number(monkeypatch):
    one = Rle.of(np.eye(3, dtype=bool))
    monkeypatch.setattr(annotation, "MAX_SHAPES", 5)
    assert len(list(by_class("a.jpg", [("car", one)] * 5, {}))) == 1
    with pytest.raises(OwsegError, match=r"a\.jpg has more than 5 shapes"):
        list(by_class("a.jpg", [("car", one)] * 6, {}))
    monkeypatch.setattr(annotation, "MAX_SHAPES", 1000)
    assert len(list(by_class("a.jpg", [(f"c{i}", one) for i in range(253)], {}))) == 253
    with pytest.raises(OwsegError, match=r"a\.jpg has more than 253 classes"):
        list(by_class("a.jpg", [(f"c{i}", one) for i in range(254)], {}))


@pytest.mark.parametrize("seed", range(30))
def test_a_mask_in_a_box_is_that_mask_in_the_image(seed):
    rng = np.random.default_rng(seed)
    size = tuple(int(s) for s in rng.integers(1, 9, 2))
    height, width = (int(rng.integers(1, side + 1)) for side in size)
    top, left = int(rng.integers(size[0] - height + 1)), int(rng.integers(size[1] - width + 1))
    inside = rng.random((height, width)) < rng.choice([0, 0.3, 0.9, 1])
    whole = np.zeros(size, bool)
    whole[top : top + height, left : left + width] = inside
    placed = Rle.placed(inside, top, left, size)
    assert placed == Rle.of(whole) and np.array_equal(placed.mask(), whole)


@pytest.mark.parametrize("seed", range(30))
def test_a_polygon_in_its_box_is_drawn_as_on_the_whole_image(tmp_path, seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-20, 80, (int(rng.integers(3, 9)), 2)).round(int(rng.integers(0, 3)))
    value = labelme(corners)
    path = written(tmp_path / "a.json", {**value, "imageHeight": 50, "imageWidth": 60})
    whole = Image.new("1", (60, 50))
    ImageDraw.Draw(whole).polygon([tuple(c) for c in corners.tolist()], fill=1, outline=1)
    drawn = list(read(path))
    assert np.array_equal(drawn[0].mask, np.asarray(whole))


def test_what_all_members_unpack_to_is_bounded(tmp_path):
    blanks = {f"{i}.json": b" " * (30 << 20) for i in range(3)}
    refused(zipped(tmp_path / "bomb.zip", blanks), "coco", "are 94,371,840 unpacked; do not trust it")


def test_the_number_of_members_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBERS", 5)
    for number in (4, 5):
        path = zipped(
            tmp_path / f"{number}.zip", {"a.json": json.dumps(COCO), **{f"{i}.txt": "" for i in range(number)}}
        )
        if number == 4:
            assert len(list(read(path))) == 1
        else:
            refused(path, "coco", "more than 5 files; split it")


def test_a_file_that_is_no_json_is_parsed_once():
    reads = []

    def data():
        reads.append(1)
        return b" " * 99

    files = Files({"a.json": data})
    for _ in range(3):
        with pytest.raises(OwsegError, match=r"a\.json is not JSON"):
            files.json("a.json")
    assert len(reads) == 1


def test_an_archive_of_masks_without_a_label_map(tmp_path):
    buffer = io.BytesIO()
    Image.new("L", (4, 4)).save(buffer, "PNG")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr("SegmentationClass/a.png", buffer.getvalue())
    with opened(tmp_path / "a.zip") as files:
        assert list(files) == ["SegmentationClass/a.png"]
    refused(tmp_path / "a.zip", "cvat-masks", "not a CVAT archive of segmentation masks, nor does it hold one")


@pytest.mark.filterwarnings("ignore:Image size")
def test_a_mask_of_more_pixels_than_are_read(tmp_path):
    buffer = io.BytesIO()
    Image.new("1", (11585, 11585)).save(buffer, "PNG")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr("labelmap.txt", "background:0,0,0::\ncar:1,2,3::\n")
        made.writestr("SegmentationClass/a.png", buffer.getvalue())
    refused(tmp_path / "a.zip", "cvat-masks", "an image of 11585x11585 is larger than 67,108,864 pixels")


def test_a_name_that_no_file_can_have(tmp_path):
    from owseg.exchange.shots import find_annotated

    with pytest.raises(OwsegError, match=r"^there is no image a{200}\.\.\. in"):
        find_annotated("a" * 5000, tmp_path)
    with pytest.raises(OwsegError, match="there is no image"):
        find_annotated("a" * 300 + ".png", tmp_path)
