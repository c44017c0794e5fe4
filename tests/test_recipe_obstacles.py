"""The recipe of obstacles: where they are put, how large they are, and the forms that it compares."""

from types import SimpleNamespace

import numpy as np
import torch

from owseg.labels import UNKNOWN
from owseg.scorers.road import AMOUNT, OnRoad
from owseg.types import Sample
from recipes.obstacles import CAMERA, COUNT, FORMS, HEIGHTS, on_road, resized, rows_and_columns
from tests.support.outliers import objects


def a_street():
    target = np.zeros((120, 160), np.uint8)
    target[40:] = 1
    return Sample(np.zeros((3, 120, 160), np.uint8), target, "street")


def test_obstacles_stand_on_the_road_as_tall_as_perspective_makes_them():
    seen = 0
    for seed in range(20):
        sample = on_road(a_street(), objects(), 1, np.random.default_rng(seed))
        if sample is None:
            continue
        seen += 1
        put = sample.target == UNKNOWN
        assert put.any() and (sample.image.any(0) <= put).all()  # nothing else changes
        assert (sample.target[~put] == a_street().target[~put]).all()
        rows = np.nonzero(put.any(1))[0]
        assert rows.max() >= 40  # its foot is on the road
        tallest = HEIGHTS[1] / CAMERA * (rows.max() - 40)
        assert np.diff(np.nonzero(put.any(0))[0]).max() >= 1 and rows.min() >= rows.max() - COUNT * 120
        assert max(put.sum(0)) <= COUNT * (tallest + 2)
    assert seen > 10


def test_an_image_without_a_road_has_no_obstacles():
    street = a_street()
    street.target[:] = 0
    assert on_road(street, objects(), 1, np.random.default_rng(0)) is None


def test_an_object_has_the_height_that_is_asked_and_its_own_shape():
    outlier = objects().read(0)
    tall, wide = (np.ptp(np.nonzero(outlier.mask.any(axis))[0]) + 1 for axis in (1, 0))
    image, mask = resized(outlier, 20.0)
    assert mask.shape == (20, round(wide * 20 / tall)) and image.shape == (3, *mask.shape) and mask.any()


def test_the_form_that_was_chosen_is_that_of_the_score_on_the_road():
    road = np.zeros((30, 40), bool)
    road[12:, 5:30] = True
    road[18:22, 10:16] = False
    score = np.random.default_rng(0).normal(size=road.shape).astype(np.float32)
    logits = torch.from_numpy(np.stack([~road, road]).astype(np.float32))[None]
    found = OnRoad(lambda output: torch.from_numpy(score)[None], 1)(SimpleNamespace(logits=logits))[0].numpy()
    np.testing.assert_allclose(FORMS[f"hull, sharpened by {AMOUNT:.2f}"](score, road), found, atol=1e-5)
    assert (FORMS["anywhere"](score, road) == score).all()
    assert (FORMS["hull, at once"](score, road)[20, 12], FORMS["road, without hull"](score, road)[20, 12]) != (
        score[20, 12], score[20, 12],
    )  # fmt: skip


def test_between_road_in_row_and_column():
    road = np.zeros((5, 6), bool)
    road[1, 1:5] = road[3, 1:5] = road[1:4, 1] = road[1:4, 4] = True
    expected = np.zeros_like(road)
    expected[1:4, 1:5] = True
    assert np.array_equal(rows_and_columns(road), expected)
    assert not rows_and_columns(np.zeros((3, 3), bool)).any()
