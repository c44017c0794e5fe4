import json

import numpy as np
import pytest
from PIL import Image

from owseg.data.datasets.cityscapes import CITYSCAPES
from owseg.data.outliers import leave_out, open_outliers
from owseg.errors import OwsegError
from owseg.labels import IGNORE, LabelSpace


def save_image(path, mode="RGB", size=(20, 16), alpha=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    if mode == "RGBA":
        values = np.dstack([values, alpha])
    Image.fromarray(values).save(path)
    return values


def box(top, bottom, left, right, size=(20, 16), value=255):
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[top:bottom, left:right] = value
    return mask


def test_cut_outs_show_what_their_name_says(tmp_path):
    values = save_image(tmp_path / "teddy bear_17.png", "RGBA", alpha=box(2, 9, 3, 12))
    save_image(tmp_path / "car_2.png", "RGBA", alpha=box(0, 4, 0, 4))
    found = open_outliers(tmp_path)
    assert found.counts() == {"car": 1, "teddy bear": 1} and not found.in_context
    known = found.unknown_to(CITYSCAPES)
    assert known.ids == ("teddy bear_17",)
    outlier = known.read(0)
    assert np.array_equal(outlier.mask, values[..., 3] > 127)
    assert np.array_equal(outlier.image, values[..., :3].transpose(2, 0, 1))
    (tmp_path / "index.json").write_text(json.dumps([{"file": "car_2.png", "category": "kite"}]))
    assert len(open_outliers(tmp_path).unknown_to(CITYSCAPES)) == 2


def test_images_with_masks_are_in_context(tmp_path):
    save_image(tmp_path / "images" / "a.jpg")
    save_image(tmp_path / "images" / "b.jpg")
    mask = box(2, 9, 3, 12, value=1)
    mask[0] = IGNORE
    for name in "ab":
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name}.png")
    entries = [{"file": "a.jpg", "categories": ["cow", "Person"]}, {"file": "b.jpg", "categories": ["cow"]}]
    (tmp_path / "index.json").write_text(json.dumps(entries))
    found = open_outliers(tmp_path)
    assert found.in_context and found.counts() == {"cow": 2, "Person": 1}
    assert found.unknown_to(LabelSpace.of(["road", "pedestrian"])).ids == ("b",)  # a person by another name
    assert np.array_equal(found.read(0).mask, mask == 1)
    assert np.array_equal(found.read(0).void, mask == IGNORE)


def test_only_what_is_there_can_be_left_out(tmp_path):
    for name in ("cow_1", "teddy bear_2", "bird_3"):
        save_image(tmp_path / "a" / f"{name}.png", "RGBA", alpha=box(0, 4, 0, 4))
    save_image(tmp_path / "b" / "kite_1.png", "RGBA", alpha=box(0, 4, 0, 4))
    save_image(tmp_path / "b" / "cow_2.png", "RGBA", alpha=box(0, 4, 0, 4))
    objects, context = open_outliers(tmp_path / "a"), open_outliers(tmp_path / "b")
    assert objects.without(["Teddy_Bear", "cow"]).ids == ("bird_3",)
    for names in (["cow", "brid"], ["bird+cow"], ["kite"]):
        with pytest.raises(
            OwsegError, match=r"no outlier shows '(brid|bird\+cow|kite)', .* show bird, cow, teddy bear"
        ):
            objects.without(names)
    with pytest.raises(OwsegError, match="shows what is known or left out"):
        objects.without(["cow", "bird", "teddy bear"])
    left = leave_out(["cow", "bird"], objects, context)  # no bird is in both
    assert [some.ids for some in left] == [("teddy bear_2",), ("kite_1",)]
    assert leave_out([], objects)[0].ids == objects.ids and leave_out([], objects)[1] is None


def test_coco_polygons_are_drawn(tmp_path):
    save_image(tmp_path / "images" / "a.jpg")
    save_image(tmp_path / "images" / "b.jpg")
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "categories": [{"id": 5, "name": "kite"}, {"id": 6, "name": "bed"}],
        "annotations": [
            {"image_id": 1, "category_id": 5, "segmentation": [[3, 2, 11, 2, 11, 8, 3, 8]]},
            {"image_id": 1, "category_id": 6, "segmentation": [[15, 12, 18, 12, 18, 14, 15, 14]]},
            {"image_id": 2, "category_id": 5, "segmentation": {"counts": [1, 2], "size": [16, 20]}},
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(coco))
    found = open_outliers(tmp_path)
    assert found.ids == ("a",) and found.categories == (frozenset({"kite", "bed"}),)
    mask = found.read(0).mask
    assert mask[2:9, 3:12].all() and mask[12:15, 15:19].all() and mask.sum() == 7 * 9 + 3 * 4


def test_what_is_no_outlier_ends_in_one_sentence(tmp_path):
    with pytest.raises(OwsegError, match="does not exist"):
        open_outliers(tmp_path / "none")
    with pytest.raises(OwsegError, match="holds no image"):
        open_outliers(tmp_path)
    save_image(tmp_path / "car_1.png", "RGBA", alpha=box(0, 4, 0, 4))
    with pytest.raises(OwsegError, match="shows what is known"):
        open_outliers(tmp_path).unknown_to(CITYSCAPES)
    save_image(tmp_path / "dog_1.png")
    with pytest.raises(OwsegError, match="not transparent"):
        found = open_outliers(tmp_path)
        found.read(found.ids.index("dog_1"))
    other = tmp_path / "other"
    save_image(other / "images" / "a.png")
    (other / "masks").mkdir()
    Image.fromarray(box(0, 4, 0, 4, (9, 9))).save(other / "masks" / "a.png")
    with pytest.raises(OwsegError, match="one size"):
        open_outliers(other).read(0)
    (other / "index.json").write_text("{")
    with pytest.raises(OwsegError, match=r"index\.json"):
        open_outliers(other)
    nothing = tmp_path / "nothing"
    save_image(nothing / "cow_1.png", "RGBA", alpha=box(0, 0, 0, 0))
    with pytest.raises(OwsegError, match=r"cow_1\.png shows no outlier"):
        open_outliers(nothing).read(0)
    save_image(tmp_path / "coco" / "images" / "a.png")
    (tmp_path / "coco" / "x.json").write_text("[]")
    with pytest.raises(OwsegError, match="not a COCO"):
        open_outliers(tmp_path / "coco")


@pytest.mark.parametrize("kind", ["P", "LA", "key"])
def test_a_cut_out_may_be_transparent_in_any_way(tmp_path, kind):
    alpha = box(2, 9, 3, 12)
    if kind == "key":
        ids = np.where(alpha > 0, 9, 200).astype(np.uint8)
        Image.fromarray(ids).save(tmp_path / "cow_1.png", transparency=200)
    elif kind == "P":
        cut = Image.fromarray((alpha > 0).astype(np.uint8))
        cut.putpalette([0, 0, 0, 200, 10, 20])
        cut.save(tmp_path / "cow_1.png", transparency=0)
    else:
        Image.fromarray(np.dstack([box(0, 16, 0, 20, value=50), alpha]), "LA").save(tmp_path / "cow_1.png")
    outlier = open_outliers(tmp_path).read(0)
    assert np.array_equal(outlier.mask, alpha > 0)
    if kind == "P":
        assert (outlier.image[:, alpha > 0].T == (200, 10, 20)).all()


def test_a_cut_out_that_cannot_be_read_is_named_once(tmp_path, monkeypatch):
    save_image(tmp_path / "cow_1.png")
    with pytest.raises(OwsegError, match="is not transparent") as caught:
        open_outliers(tmp_path).read(0)
    assert "cannot be read" not in str(caught.value)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)
    with pytest.raises(OwsegError, match=r"cow_1\.png is larger than 67,108,864 pixels"):
        open_outliers(tmp_path).read(0)
