"""Eq. 12 of DMLNet at full resolution, against loops in float64."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from owseg.errors import OwsegError
from owseg.increments import INCREMENTS
from owseg.increments.prototype import NovelPrototype
from owseg.types import Output
from tests.support import tiny
from tests.support.outputs import metric_output


def interpolated(plane, size):
    """Bilinear interpolation of (h, w) to ``size`` with pixel centres aligned, by loops."""
    (h, w), (height, width) = plane.shape, size
    out = np.empty(size)
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * h / height - 0.5, 0), h - 1)
            x = min(max((j + 0.5) * w / width - 0.5, 0), w - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
            down, along = y - top, x - left
            upper = plane[top, left] * (1 - along) + plane[top, right] * along
            lower = plane[bottom, left] * (1 - along) + plane[bottom, right] * along
            out[i, j] = upper * (1 - down) + lower * down
    return out


def margins(f, base, increment, size):
    """How far each pixel is inside each condition of Eq. 12, (2, H, W) float64: of the radius, of the nearest other."""
    full = np.stack([interpolated(plane, size) for plane in f.astype(np.float64)])
    distances = [
        ((full - np.asarray(m, np.float64)[:, None, None]) ** 2).sum(0)
        for m in (increment.prototype, *base, *increment.competitors)
    ]
    return np.stack([increment.radius - distances[0], np.min(distances[1:], 0) - distances[0]])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    dim=st.integers(2, 5),
    competitors=st.integers(0, 2),
    size=st.sampled_from([(5, 7), (11, 9), (20, 28), (3, 4)]),
    scale=st.sampled_from([1.0, 3.0]),
)
def test_equation_12_is_decided_at_full_resolution(seed, dim, competitors, size, scale):
    rng = np.random.default_rng(seed)
    f = rng.normal(0.5, 1.2, (dim, 5, 7)).astype(np.float32)
    prototype, others = rng.normal(0.5, 0.7, dim), rng.normal(0.5, 1, (competitors, dim))
    increment = NovelPrototype("x", tuple(prototype), 2.0, tuple(map(tuple, others)))
    inside = margins(f, scale * np.eye(dim), increment, size)
    sure = (np.abs(inside) > 1e-4).all(0)
    predicted = increment.predict_mask(metric_output(torch.tensor(f)[None], scale), size)[0].numpy()
    assert sure.mean() > 0.95 and np.array_equal(predicted[sure], (inside > 0).all(0)[sure])


def test_a_decision_on_the_grid_would_differ():
    """Halfway between two pixels of the class may lie one that is nearer to a known prototype."""
    f = torch.tensor([[[[0.0, 4.0]], [[2.0, 2.0]]]])  # (1, 2, 1, 2)
    increment = NovelPrototype("x", (0.0, 2.0), 20.0, ((2.0, 2.0),))
    on_the_grid = increment.predict_mask(metric_output(f, 30.0), (1, 2))
    assert on_the_grid.tolist() == [[[True, False]]]
    full = increment.predict_mask(metric_output(f, 30.0), (1, 8))
    assert full.tolist() == [[[True, True, True, False, False, False, False, False]]]  # x = 0, 0, .5, 1.5, ...


def test_both_conditions_of_equation_12_are_strict():
    f = torch.tensor([[[[1.0, 0.0]], [[0.0, 0.0]]]])
    output = metric_output(f, 10.0)
    assert NovelPrototype("x", (2.0, 0.0), 1.0).predict_mask(output, (1, 2)).tolist() == [[[False, False]]]
    assert NovelPrototype("x", (2.0, 0.0), 1.01).predict_mask(output, (1, 2)).tolist() == [[[True, False]]]
    tied = NovelPrototype("x", (2.0, 0.0), 5.0, ((0.0, 0.0),))  # the first pixel is 1 from either
    assert tied.predict_mask(output, (1, 2)).tolist() == [[[False, False]]]


def test_each_image_of_a_batch_is_decided_alone():
    g = torch.Generator().manual_seed(0)
    f = torch.randn(3, 4, 5, 7, generator=g) + 0.5
    increment = NovelPrototype("x", (0.4, 0.2, 0.6, 0.5), 4.0, ((1.0, 1.0, 0.0, 0.0),))
    whole = increment.predict_mask(metric_output(f), (20, 28))
    assert whole.shape == (3, 20, 28) and whole.dtype == torch.bool and 0.05 < whole.float().mean() < 0.95
    for i in range(3):
        assert torch.equal(whole[i : i + 1], increment.predict_mask(metric_output(f[i : i + 1]), (20, 28)))


def test_an_output_without_evidence_is_read_by_its_logits():
    f = torch.randn(1, 3, 6, 8, generator=torch.Generator().manual_seed(1))
    with_evidence = metric_output(f)
    without = Output((), f, with_evidence.logits)
    increment = NovelPrototype("x", (0.1, 0.2, 0.3), 1.5)
    for one, two in zip(
        increment.distances(with_evidence, (12, 16)), increment.distances(without, (12, 16)), strict=True
    ):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


def test_labels_change_where_the_class_is_predicted_and_nowhere_else():
    f = torch.randn(1, 3, 6, 8, generator=torch.Generator().manual_seed(2))
    increment, output = NovelPrototype("x", (0.1, 0.2, 0.3), 1.5), metric_output(f)
    labels = torch.arange(6 * 8).reshape(1, 6, 8) % 3
    mask = increment.predict_mask(output, (6, 8))
    updated = increment.update_labels(labels, output, 9)
    assert mask.any() and not mask.all()
    assert (updated[mask] == 9).all() and torch.equal(updated[~mask], labels[~mask])


def test_it_survives_json_to_the_bit():
    made = NovelPrototype("x", tuple(torch.rand(4).tolist()), 0.1, (tuple(torch.rand(4).tolist()),))
    value = json.loads(json.dumps(made.to_json()))
    assert value["kind"] == "novel_prototype" and made.tensors() == {}
    assert INCREMENTS[value["kind"]].make(value, {}, tiny.network(4)) == made


def test_two_are_equal_by_value():
    one, two = (NovelPrototype("x", (1.0, 2.0), 3.0) for _ in range(2))
    assert one == two and hash(one) == hash(two) and one != NovelPrototype("x", (1.0, 2.0), 4.0)
    with pytest.raises(AttributeError):
        one.radius = 5.0


OWN, NAN = (1.0, 2.0, 3.0), float("nan")


@pytest.mark.parametrize("bad", [
    NovelPrototype("rock", (1.0, 2.0), 2.0), NovelPrototype("rock", ("x", 0.0, 0.0), 2.0),
    NovelPrototype("rock", OWN, 2.0, ((1.0,),)), NovelPrototype("rock", OWN, NAN), NovelPrototype("rock", OWN, "x"),
    NovelPrototype("rock", OWN, 2.0, ((0.0, 0.0, float("inf")),)), NovelPrototype("rock", (True, 0.0, 0.0), 2.0),
])  # fmt: skip
def test_a_prototype_of_another_space_is_not_restored(bad):
    good = NovelPrototype("rock", OWN, 2.0, ((0.0, 1.0, 2),))
    network, restore = tiny.network(), INCREMENTS["novel_prototype"].make
    assert restore(good.to_json(), {}, network) == good
    with pytest.raises(OwsegError, match=r"^the prototype of 'rock' does not fit the network beside it\.$"):
        restore(bad.to_json(), {}, network)
