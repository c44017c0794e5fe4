"""A score for what lies on the road."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from owseg.errors import OwsegError
from owseg.labels import LabelSpace
from owseg.scorers import available
from owseg.scorers.contrast import AROUND, sharpened
from owseg.scorers.road import AMOUNT, LIMIT, SPREAD, OnRoad, distance, hull
from tests.support.outputs import labelled, network

ROAD = 1


def output_of(labels, classes=3):
    """An output (1, K, h, w) whose closed map is ``labels``."""
    logits = torch.nn.functional.one_hot(torch.from_numpy(labels), classes).movedim(-1, 0)[None].float()
    return SimpleNamespace(logits=logits)


def a_street(height=40, width=60):
    """Road in the lower half, a trapezium, with a hole of another class in it; a second road far up."""
    labels = np.zeros((height, width), int)
    for y in range(20, height):
        labels[y, 40 - y : 20 + y] = ROAD
    labels[30:33, 28:34] = 2
    labels[2:4, 2:8] = ROAD
    return labels


def slowly(score, labels, road):
    """``OnRoad`` of one image in float64: the hull by half planes, distances and means by loops over its pixels."""
    height, width = labels.shape
    pieces, seen = [], set()
    for start in zip(*np.nonzero(labels == road), strict=True):
        if start in seen:
            continue
        piece, stack = [], [start]
        seen.add(start)
        while stack:
            y, x = stack.pop()
            piece.append((y, x))
            for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                inside = 0 <= near[0] < height and 0 <= near[1] < width
                if inside and near not in seen and labels[near] == road:
                    seen.add(near)
                    stack.append(near)
        pieces.append(piece)
    largest = max(pieces, key=len)
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    # Half a pixel to each side: the hull holds pixels, not their centres.
    corners = [(y + a, x + b) for y, x in largest for a, b in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5))]
    reach = np.max([np.outer(angles * 0 + y, 1)[:, 0] * np.sin(angles) + x * np.cos(angles) for y, x in corners], 0)
    found = np.zeros((height, width))
    inside = np.array([
        [(y * np.sin(angles) + x * np.cos(angles) <= reach + 1e-6).all() for x in range(width)] for y in range(height)
    ])  # fmt: skip
    spread = float(np.std(score.astype(np.float64)))
    for y in range(height):
        for x in range(width):
            ys, xs = np.nonzero(inside)
            away = np.sqrt(((ys - y) ** 2 + (xs - x) ** 2).min()) / min(height, width)
            found[y, x] = score[y, x] - LIMIT * spread * min(1, away / SPREAD)
    half = round(AROUND * min(height, width) / 2)
    square = range(-half, half + 1)
    means = np.array([
        [np.mean([found[np.clip(y + i, 0, height - 1), np.clip(x + j, 0, width - 1)] for i in square for j in square])
         for x in range(width)] for y in range(height)
    ])  # fmt: skip
    return found + AMOUNT * (found - means)


def test_it_is_what_loops_find():
    labels = a_street()
    score = np.random.default_rng(0).normal(2, 3, labels.shape).astype(np.float32)
    found = OnRoad(lambda output: torch.from_numpy(score)[None], ROAD)(output_of(labels))[0].numpy()
    np.testing.assert_allclose(found, slowly(score, labels, ROAD), atol=1e-4)


def test_what_lies_on_the_road_keeps_its_score_and_what_is_far_loses_all(monkeypatch):
    monkeypatch.setattr("owseg.scorers.road.AMOUNT", 0.0)
    labels = a_street()
    score = torch.randn(1, *labels.shape, generator=torch.Generator().manual_seed(0))
    found = OnRoad(lambda output: score, ROAD)(output_of(labels))
    assert torch.equal(found[0, 30:33, 28:34], score[0, 30:33, 28:34])
    far = score - LIMIT * score.std(correction=0)
    assert torch.allclose(found[0, :10], far[0, :10])  # the smaller road up there does not count
    assert (found <= score).all()


def test_without_a_road_all_of_an_image_is_far_from_it_and_each_image_has_its_own():
    labels = a_street()
    output = SimpleNamespace(logits=torch.cat([output_of(labels).logits, output_of(labels * 0).logits]))
    score = torch.randn(2, *labels.shape, generator=torch.Generator().manual_seed(0))
    found = OnRoad(lambda output: score, ROAD)(output)
    far = sharpened(score[1:] - LIMIT * score[1].std(correction=0), AMOUNT)
    assert torch.allclose(found[1:], far, atol=1e-5)
    alone = OnRoad(lambda output: score[:1], ROAD)(output_of(labels))
    assert torch.equal(found[0], alone[0])


@given(st.floats(0.1, 50), st.floats(-100, 100))
@settings(deadline=None, max_examples=20)
def test_it_follows_scale_and_shift_of_the_score(scale, shift):
    labels = a_street()
    score = torch.randn(1, *labels.shape, generator=torch.Generator().manual_seed(1))
    one, other = (OnRoad(lambda output, s=s: s, ROAD)(output_of(labels)) for s in (score, scale * score + shift))
    assert torch.allclose(other, scale * one + shift, atol=1e-3 * scale + 1e-4)


def test_the_closed_map_is_taken_at_the_size_of_the_score():
    coarse = np.repeat(np.array([[0, 0], [ROAD, ROAD]]), 1, 0)
    score = torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(2))
    found = OnRoad(lambda output: score, ROAD)(output_of(coarse))
    assert found.shape == score.shape and torch.allclose(found[0, 20:], sharpened(score, AMOUNT)[0, 20:])


def test_the_hull_of_nothing_is_empty_and_endlessly_far():
    nothing = np.zeros((4, 5), bool)
    assert not hull(nothing).any() and np.isinf(distance(nothing)).all()
    assert distance(np.eye(3, dtype=bool))[0, 2] == pytest.approx(np.sqrt(2) / 3)


def test_a_knowledge_base_that_knows_a_road_has_every_score_on_it():
    with_road = available(network(), LabelSpace.of(("sky", "road", "tree", "car")), {}, False)
    made = with_road["msp@segments@road"]
    assert (made.road, made.scorer) == (1, with_road["msp@segments"]) and "msp@road" in with_road
    output = labelled(3)[0]
    assert with_road["msp@road"](output).shape == with_road["msp"](output).shape
    for name in ("msp@road@segments", "msp@road@road", "msp@pavement", "nothing@road", "@road"):
        assert name not in with_road
    learned = LabelSpace.of(("sky", "grass", "tree", "car", "road"))  # learned later, so not in the closed map
    without = available(network(), learned, {}, False)
    assert "msp@road" not in without and "msp@segments" in without
    with pytest.raises((KeyError, OwsegError)):
        without["msp@road"]
