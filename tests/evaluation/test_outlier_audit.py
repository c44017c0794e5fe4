import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from owseg.data.dataset import DataSet, Source
from owseg.data.outliers import Outlier, Outliers
from owseg.errors import OwsegError
from owseg.evaluation.outlier_audit import audit, categories_named, object_features, summary
from owseg.labels import LabelSpace
from tests.support import tiny

COLORS = {"tomato": (230, 30, 20), "sky kite": (20, 40, 230), "leaf": (30, 220, 40)}


def things(per_category=3):
    names = [n for n in COLORS for _ in range(per_category)]

    def read(i):
        rng = np.random.default_rng(i)
        image = np.clip(np.array(COLORS[names[i]])[:, None, None] + rng.integers(-15, 15, (3, 40, 40)), 0, 255)
        mask = np.zeros((40, 40), bool)
        mask[4 : 30 + i, 6:34] = True
        return Outlier(image.astype(np.uint8), mask, f"o{i}")

    return Outliers(
        "things", tuple(f"{n}_{i}" for i, n in enumerate(names)), tuple(frozenset({n}) for n in names), read
    )


def anomalies(*names, size=30):
    """Grey images, each with a square of the colour of one thing, and a speck that is too small to judge."""

    def read(i):
        image, target = np.full((3, 60, 80), 120, np.uint8), np.zeros((60, 80), np.uint8)
        target[5 : 5 + size, 10 : 10 + size] = target[58, 78] = 1
        image[:, target == 1] = np.array(COLORS[names[i]], np.uint8)[:, None]
        return image, target

    source = Source("anomalies", LabelSpace.of(["road", "lost kite"]), tuple(names), read)
    return DataSet(source, LabelSpace.of(["road"]))


@pytest.fixture(scope="module")
def backbone():
    return tiny.network().backbone


def by_color(image):
    """A backbone that sees nothing but colours."""
    return (torch.nn.functional.avg_pool2d(image - 0.5, 32),)


def test_what_is_similar_is_found_and_how_far_that_can_be_trusted():
    found = audit(things(), anomalies("tomato", "leaf", "leaf"), by_color)
    assert [(m.image, m.area, *m.categories) for m in found.matches] == [
        ("tomato", 900, "tomato"), ("leaf", 900, "leaf"), ("leaf", 900, "leaf"),
    ]  # fmt: skip
    assert found.precision_at_1 == 1 and found.overlapping == ("leaf", "tomato")
    assert [row[:3] for row in summary(found)] == [("leaf", "2", "1800"), ("tomato", "1", "900")]
    mixed = replace(things(), categories=tuple(frozenset({str(i)}) for i in range(9)))
    assert audit(mixed, anomalies("leaf"), by_color).precision_at_1 == 0


def test_what_shows_two_categories_overlaps_in_both():
    both = replace(things(), categories=tuple(frozenset({"bird", "cow"}) for _ in range(9)))
    found = audit(both, anomalies("leaf", "tomato"), by_color)
    assert found.overlapping == ("bird", "cow") and summary(found)[0][0] == "bird+cow"
    assert "--exclude 'bird,cow'" in found.text()
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["overlapping"] == ["bird", "cow"] and told["matches"][0]["categories"] == ["bird", "cow"]
    rest = replace(both, categories=(frozenset({"kite"}), *both.categories[1:]))
    assert rest.without(found.overlapping).ids == rest.ids[:1]


def test_one_outlier_has_no_precision():
    found = audit(things(1).pick([0]), anomalies("leaf"), by_color)
    assert np.isnan(found.precision_at_1) and found.to_json()["precision_at_1"] is None
    assert "There is only one outlier" in found.text() and "nan" not in found.text()


def test_names_overlap_under_their_synonyms():
    outliers = replace(things(1), categories=(frozenset({"Bike"}), frozenset({"sofa"}), frozenset({"potted-plant"})))
    assert categories_named(outliers, ["bicycle", "tree"]) == ("Bike", "potted-plant")


def test_features_do_not_depend_on_where_and_how_large_an_object_is(backbone):
    image, mask = np.full((3, 50, 60), 40, np.uint8), np.zeros((50, 60), bool)
    image[0, 10:30, 20:50] = np.arange(0, 240, 8)
    mask[10:30, 20:50] = True
    there = object_features(backbone, np.roll(image, (7, 5), (1, 2)), np.roll(mask, (7, 5), (0, 1)))
    other = image.copy()
    other[:, ~mask] = 250  # another place behind it
    large = object_features(backbone, image.repeat(2, 1).repeat(2, 2), mask.repeat(2, 0).repeat(2, 1))
    features = object_features(backbone, image, mask)
    assert np.array_equal(features, there) and np.array_equal(features, object_features(backbone, other, mask))
    assert features @ large > 0.99 and np.linalg.norm(features) == pytest.approx(1)
    assert object_features(backbone, image, np.zeros_like(mask)) is None


def test_the_mean_is_over_the_thing_alone(backbone):
    """Against a literal loop over the cells: each weighs as much as the thing covers of it."""
    image, mask = tiny.image(3, (224, 224)), np.zeros((224, 224), bool)
    mask[:, :100] = mask[:40] = True  # it spans the square, so nothing is resized
    features = object_features(backbone, image, mask)
    with torch.no_grad():
        cut = torch.from_numpy(np.where(mask, image, 127)).float()[None] / 255
        pyramid = backbone(cut)[-1][0].double().numpy()
    total, cell = np.zeros(len(pyramid)), 224 // pyramid.shape[1]
    for i in range(pyramid.shape[1]):
        for j in range(pyramid.shape[2]):
            total += mask[i * cell : (i + 1) * cell, j * cell : (j + 1) * cell].mean() * pyramid[:, i, j]
    assert np.allclose(features, total / np.linalg.norm(total), atol=1e-5)


def test_what_cannot_be_audited_ends_in_one_sentence(backbone):
    with pytest.raises(OwsegError, match="no anomaly of 400 pixels"):
        audit(things(), anomalies("leaf", size=10), backbone)
    empty = replace(things(), read=lambda i: Outlier(np.zeros((3, 9, 9), np.uint8), np.zeros((9, 9), bool), "none"))
    with pytest.raises(OwsegError, match="its mask marks no pixel"):
        audit(empty, anomalies("leaf"), backbone)
