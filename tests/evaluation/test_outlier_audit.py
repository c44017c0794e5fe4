import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from owseg.data.dataset import DataSet, Source
from owseg.data.outliers import Outlier, Outliers
from owseg.errors import OwsegError
from owseg.evaluation import outlier_audit
from owseg.evaluation.outlier_audit import (
    audit,
    backbone_engine,
    categories_named,
    object_features,
    square,
    summary,
)
from owseg.labels import LabelSpace
from owseg.models.engine import Engine
from owseg.types import Output
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
def engine():
    return backbone_engine(tiny.knowledge_base())


def by_color(image):
    """A network that reads nothing but colours."""
    maps = torch.nn.functional.avg_pool2d(torch.from_numpy(image)[None] / 255 - 0.5, 32)
    return Output((maps,), maps, maps)


def features_of(engine, image, mask):
    found = square(image, mask)
    return object_features(found, engine(found.image))


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


def test_features_do_not_depend_on_where_and_how_large_an_object_is(engine):
    image, mask = np.full((3, 50, 60), 40, np.uint8), np.zeros((50, 60), bool)
    image[0, 10:30, 20:50] = np.arange(0, 240, 8)
    mask[10:30, 20:50] = True
    there = features_of(engine, np.roll(image, (7, 5), (1, 2)), np.roll(mask, (7, 5), (0, 1)))
    other = image.copy()
    other[:, ~mask] = 250  # another place behind it
    large = features_of(engine, image.repeat(2, 1).repeat(2, 2), mask.repeat(2, 0).repeat(2, 1))
    features = features_of(engine, image, mask)
    assert np.array_equal(features, there) and np.array_equal(features, features_of(engine, other, mask))
    assert features @ large > 0.99 and np.linalg.norm(features) == pytest.approx(1)
    assert square(image, np.zeros_like(mask)) is None


def test_the_mean_is_over_the_thing_alone(engine):
    """Against a literal loop over the cells: each weighs as much as the thing covers of it."""
    image, mask = tiny.image(3, (224, 224)), np.zeros((224, 224), bool)
    mask[:, :100] = mask[:40] = True  # it spans the square, so nothing is resized
    features = features_of(engine, image, mask)
    with torch.no_grad():
        cut = torch.from_numpy(np.where(mask, image, 127)).float()[None] / 255
        pyramid = engine.network.backbone(cut)[-1][0].double().numpy()
    total, cell = np.zeros(len(pyramid)), 224 // pyramid.shape[1]
    for i in range(pyramid.shape[1]):
        for j in range(pyramid.shape[2]):
            total += mask[i * cell : (i + 1) * cell, j * cell : (j + 1) * cell].mean() * pyramid[:, i, j]
    assert np.allclose(features, total / np.linalg.norm(total), atol=1e-5)


def test_any_number_of_squares_at_once_gives_the_same(monkeypatch):
    kb, data = tiny.knowledge_base(), anomalies("tomato", "leaf", "leaf")
    expected = audit(things(), data, backbone_engine(kb))
    monkeypatch.setattr(outlier_audit, "AT_ONCE", 4)
    found = audit(things(), data, backbone_engine(kb.to("cpu", batch=3, workers=2)))
    assert [m.categories for m in found.matches] == [m.categories for m in expected.matches]
    each = [[m.similarity for m in a.matches] for a in (found, expected)]
    assert each[0] == pytest.approx(each[1], abs=1e-5) and found.precision_at_1 == expected.precision_at_1


def test_a_backbone_is_run_as_the_knowledge_base_is():
    kb = tiny.knowledge_base().to("cpu", batch=3, workers=2, precision="bf16")
    own, other = backbone_engine(kb), backbone_engine(kb, tiny.network(kind="resnet").backbone.train())
    for engine in (own, other):
        assert isinstance(engine, Engine) and engine.residual is None
        assert (engine.batch, engine.workers, engine.precision) == (3, 2, "bf16") and not engine.network.training
    assert own.network.backbone is kb.network.backbone and other.network.backbone.kind == "resnet"
    image = tiny.image(0, (224, 224))
    exact = backbone_engine(tiny.knowledge_base())(image).features[-1]
    with torch.no_grad():
        expected = kb.network.backbone(torch.from_numpy(image)[None] / 255)[-1]
    torch.testing.assert_close(exact, expected, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_audited_ends_in_one_sentence(engine):
    with pytest.raises(OwsegError, match="no anomaly of 400 pixels"):
        audit(things(), anomalies("leaf", size=10), engine)
    empty = replace(things(), read=lambda i: Outlier(np.zeros((3, 9, 9), np.uint8), np.zeros((9, 9), bool), "none"))
    with pytest.raises(OwsegError, match="its mask marks no pixel"):
        audit(empty, anomalies("leaf"), engine)
